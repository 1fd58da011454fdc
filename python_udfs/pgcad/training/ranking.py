"""How well queries find their parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recall:
    """Share of queries whose part is first, or among the first ten: over queries, and averaged over families."""

    queries: int
    r1: float
    r10: float
    r1_by_family: float
    r10_by_family: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


def ranks(queries: Tensor, gallery: Tensor, targets: Tensor) -> Tensor:
    """Rank (0 = first) of the row `targets` (n,) of the gallery for each query, by cosine of unit rows.

    Ties count against: identical parts are not a hit for each other.
    """
    scores = queries @ gallery.T
    return (scores >= scores.gather(1, targets.unsqueeze(1))).sum(1) - 1


def recall(rank: Tensor, families: Sequence[str]) -> Recall:
    """Recall of queries with these ranks, whose parts belong to these families."""
    hits = [(family, float(r < 1), float(r < 10)) for family, r in zip(families, rank.tolist(), strict=True)]
    by_family: dict[str, list[tuple[float, float]]] = {}
    for family, first, ten in hits:
        by_family.setdefault(family, []).append((first, ten))
    return Recall(
        len(hits),
        fmean(first for _, first, _ in hits),
        fmean(ten for _, _, ten in hits),
        fmean(fmean(first for first, _ in group) for group in by_family.values()),
        fmean(fmean(ten for _, ten in group) for group in by_family.values()),
    )


def neighbour_agreement(vectors: Tensor, labels: Sequence[str], queries: Tensor) -> float:
    """Share of the rows `queries` whose nearest other row has the same label."""
    scores = vectors[queries] @ vectors.T
    scores[torch.arange(len(queries)), queries] = -torch.inf
    nearest = scores.argmax(1).tolist()
    return fmean(float(labels[query] == labels[found]) for query, found in zip(queries.tolist(), nearest, strict=True))
