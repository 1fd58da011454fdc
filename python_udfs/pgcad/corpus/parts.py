"""A part to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """A prepared part: where its record lies, the texts it may be called by, and the caption that identifies it."""

    folder: Path
    key: str
    texts: tuple[str, ...]
    caption: str
