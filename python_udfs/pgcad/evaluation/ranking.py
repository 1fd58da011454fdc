"""The rank of what was looked for, exactly: every part of the gallery is compared."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor


def ranks(queries: Tensor, gallery: Tensor, targets: Tensor, twins: Tensor | None = None) -> Tensor:
    """Rank (0 = first) of the row `targets` (n,) of the gallery for each query, by cosine of unit rows."""
    return ranks_of(queries @ gallery.T, targets, twins)


def ranks_of(scores: Tensor, targets: Tensor, twins: Tensor | None = None) -> Tensor:
    """Rank (0 = first) of the column `targets` (n,) in each row of `scores` (n, m).

    Ties count against, except between twins: columns with the same label in `twins` (m,) are one and the same part.
    Against counts too what is no number, so that damaged vectors never look like perfect ones.
    """
    own = scores.gather(1, targets.unsqueeze(1))
    if twins is None:
        return (~(scores < own)).sum(1) - 1
    same = twins.unsqueeze(0) == twins[targets].unsqueeze(1)
    own = scores.masked_fill(~same, -torch.inf).amax(1, keepdim=True)
    return (~(scores < own) & ~same).sum(1)


def recall(rank: Tensor, first: int) -> float:
    """Share of ranks among the first so many."""
    return float((rank < first).float().mean())


def neighbour_agreement(vectors: Tensor, labels: Sequence[str], queries: Tensor) -> list[bool]:
    """Whether the nearest other row of each row in `queries` has the same label."""
    scores = vectors[queries] @ vectors.T
    scores[torch.arange(len(queries)), queries] = -torch.inf
    nearest = scores.argmax(1).tolist()
    return [labels[query] == labels[found] for query, found in zip(queries.tolist(), nearest, strict=True)]


def mean_by_family(hits: Sequence[bool], families: Sequence[str]) -> float:
    """Share of hits in each family, averaged."""
    groups: dict[str, list[bool]] = {}
    for hit, family in zip(hits, families, strict=True):
        groups.setdefault(family, []).append(hit)
    return fmean(fmean(group) for group in groups.values())
