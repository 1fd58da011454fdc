"""Names and texts end up in terminals and web pages, so they are cleaned where they are read."""

from __future__ import annotations

import unicodedata

MAX_NAME_CHARACTERS = 300


def clean_text(text: object) -> str:
    """One line of printable text: control, text-direction and broken characters dropped, blanks collapsed."""
    visible = "".join(" " if c.isspace() else c for c in str(text) if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(visible.split())


def clean_name(name: object) -> str:
    """A clean text, cut at 300 characters."""
    return clean_text(name)[:MAX_NAME_CHARACTERS]
