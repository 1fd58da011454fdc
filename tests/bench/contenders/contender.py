"""What a contender can do: hold the drawn parts, and find those nearest to a question."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
from drawn_parts import DrawnParts
from numpy.typing import NDArray
from vector_model import Vectors

FIRST = 10
Setting = dict[str, int | float | str]


class Unavailable(RuntimeError):
    """This contender cannot take part here; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a contender keeps its data: a folder of its own, or a database of its own."""

    folder: Path
    dsn: str


class Contender(ABC):
    """A product with one kind of index.

    It is made in one process (`load`, `build`, `settle`) and asked in others (`open`, then `use` and `ask`). `ask`
    returns the places of the nearest parts with a mass below a share of 1 kg; a filter is evaluated for each question.
    """

    packages: ClassVar[Sequence[str]]
    settings: Sequence[Setting]
    filtered_settings: Sequence[Setting] = ()  # in addition, where only some parts may come

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def load(self, parts: DrawnParts) -> None:
        """Take the parts in."""

    @abstractmethod
    def build(self) -> None:
        """Make the index."""

    def settle(self, questions: Vectors) -> None:  # noqa: B027 -- most have nothing to do
        """Whatever else is to be done before it is asked, such as statistics; with questions of the kind to come."""

    @abstractmethod
    def open(self) -> None:
        """Be ready to answer from what `build` left on disk."""

    @abstractmethod
    def use(self, setting: Setting) -> None:
        """Answer with this setting from now on."""

    @abstractmethod
    def ask(self, question: NDArray[np.float32], share: float) -> Iterable[int]:
        """The places of the FIRST nearest, or of fewer where it finds no more."""

    def vector_ms(self, question: NDArray[np.float32], share: float) -> float | None:
        """Of a question, the time to find the nearest by vector, where the product tells it apart from the rest."""
        return None

    def versions(self) -> dict[str, str]:
        """Versions of what answers."""
        return {package: version(package) for package in self.packages}

    def disk_bytes(self) -> dict[str, int]:
        """What lies on disk; `index` where it lies apart from the vectors."""
        return {"all": sum(path.stat().st_size for path in self.place.folder.rglob("*") if path.is_file())}

    def memory_bytes(self) -> int:
        """Memory that is in use for it now."""
        return psutil.Process().memory_info().rss


def forget(folder: Path) -> None:
    """Put the files of a folder out of the page cache, so that the next reader waits for the disk."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
