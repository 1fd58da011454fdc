"""A part to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """A prepared part: where its record lies, the texts it may be called by (TEXTS_PER_PART, or none), the caption that
    identifies it (two parts of one caption are no evidence against each other), and its family.
    """

    folder: Path
    key: str
    texts: tuple[str, ...]
    caption: str
    family: str
