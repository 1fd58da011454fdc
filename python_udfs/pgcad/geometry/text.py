"""Names and texts end up in terminals and web pages, so they are cleaned where they are read."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME_CHARACTERS = 300
UNNAMED = "unnamed"
"""The first word of the names that pgcad gives to parts without one."""
_PLACEHOLDERS = (UNNAMED, "compound", "solid", "shape", "part", "assembly", "assem", "none", "mesh")
_PLACEHOLDERS_BEGIN = ("open cascade", f"{UNNAMED} ")
# Three Latin, Greek or Cyrillic letters on end, or one Japanese, Chinese or Korean character.
_SPEAKING = re.compile("[A-Za-z\u00c0-\u024f\u0370-\u052f]{3}|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")


def clean_text(text: object) -> str:
    """One line of printable text: control, text-direction and broken characters dropped, blanks collapsed."""
    visible = "".join(" " if c.isspace() else c for c in str(text) if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(visible.split())


def clean_name(name: object) -> str:
    """A clean text, cut at 300 characters."""
    return clean_text(name)[:MAX_NAME_CHARACTERS]


def speaks(name: str) -> bool:
    """Whether a name says what the part is: it has a word, and is more than a number or what stands for no name."""
    return bool(_SPEAKING.search(name)) and not is_placeholder(name)


def is_placeholder(name: str) -> bool:
    """Whether a name is what programs write where nobody gave one."""
    bare = name.lower().rstrip("0123456789 .:_-")
    return bare in _PLACEHOLDERS or bare.startswith(_PLACEHOLDERS_BEGIN)
