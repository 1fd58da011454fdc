"""What a terminal may show: names and messages from files that nobody has vetted."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

console = Console(stderr=True, highlight=False)


def printable(text: str) -> str:
    """`text` with every control, format and surrogate character escaped, so that no name moves the cursor or hides."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_path(path: Path) -> str:
    """`path` as one printable line, relative to the working folder where that is shorter."""
    relative = os.path.relpath(path)
    return printable(relative if len(relative) < len(str(path)) else str(path))


def valid_text(text: str) -> str:
    """`text` as PostgreSQL can store it: valid UTF-8 without NUL; undecodable bytes become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
