"""Standard parts that can be built, cannot, or crash. A module of its own: other processes import it by name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from build123d import Box, Shape
from pgcad_load.warehouse import StandardPart


def box() -> Shape:
    return Box(1, 2, 3)


def crash() -> Shape:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a dead process goes on")


def refuse() -> Shape:
    raise ValueError("no such thread")


def part(number: str, build: Callable[[], Shape]) -> StandardPart:
    return StandardPart("test", number, number, number, "a part", "零件", "steel", (), build)
