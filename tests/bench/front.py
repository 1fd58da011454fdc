"""Settings of an index that are worth using, and which of them to compare where recall must be the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class Point(Protocol):
    """What a setting finds, and how long that takes."""

    @property
    def recall(self) -> float: ...

    @property
    def mean_ms(self) -> float: ...


P = TypeVar("P", bound=Point)


def front(points: Iterable[P]) -> list[P]:
    """The settings that no other one beats in both recall and speed, slowest last."""
    best: list[P] = []
    for point in sorted(points, key=lambda p: (p.mean_ms, -p.recall)):
        if not best or point.recall > best[-1].recall:
            best.append(point)
    return best


def quickest(points: Iterable[P], recall: float) -> P | None:
    """The quickest setting that finds so much; None where none does."""
    return min((p for p in points if p.recall >= recall), key=lambda p: p.mean_ms, default=None)


def ms_at(best: Sequence[Point], recall: float) -> float | None:
    """Mean time at a recall, between the two settings of a front around it; None where no setting reaches it."""
    for before, after in zip([None, *best], best, strict=False):
        if after.recall >= recall:
            if before is None:
                return after.mean_ms
            share = (recall - before.recall) / (after.recall - before.recall)
            return before.mean_ms + share * (after.mean_ms - before.mean_ms)
    return None
