"""Names out of files are printed to terminals and web pages, so they are cleaned where they are read."""

from __future__ import annotations

import unicodedata

MAX_NAME_CHARACTERS = 300


def clean_name(name: object) -> str:
    """One line of printable text: control, format (text direction) and broken characters dropped, blanks collapsed."""
    visible = "".join(" " if c.isspace() else c for c in str(name) if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(visible.split())[:MAX_NAME_CHARACTERS]
