"""In which company parts are learned: at first among all kinds, later more and more among their own family.

Parts of one family are the negatives that are hard to tell apart. They teach most once the families themselves are
known, and disturb before that (Bengio et al. 2009, "Curriculum Learning"; Robinson et al. 2021, "Contrastive Learning
with Hard Negative Samples").
"""

from __future__ import annotations

import torch
from torch import Tensor


def family_share(epoch: int, epochs: int, most: float) -> float:
    """The share of a batch that comes from one family: 0 in the first of `epochs`, `most` in the last."""
    return most * epoch / max(1, epochs - 1)


def batches(families: Tensor, batch: int, share: float, generator: torch.Generator) -> list[Tensor]:
    """Rows of the batches of one epoch; no row comes twice, and what fills no batch is left out.

    `families` (n,): number of each row's family. `share` of each batch comes from one family, another one in each
    batch, as long as a family has so many rows left.
    """
    order = torch.randperm(len(families), generator=generator)
    number, related = len(families) // batch, round(share * batch)
    if related < 2:
        return list(order[: number * batch].split(batch))
    groups = [order[families[order] == family].split(related) for family in families.unique()]
    runs = [run for group in groups for run in group if len(run) == related]
    runs = [runs[i] for i in torch.randperm(len(runs), generator=generator)[:number].tolist()]
    taken = torch.zeros(len(families), dtype=torch.bool)
    for run in runs:
        taken[run] = True
    rest = order[~taken[order]]
    used = len(runs) * (batch - related)
    companions = rest[:used].view(len(runs), -1)
    mixed = [rest[start : start + batch] for start in range(used, used + (number - len(runs)) * batch, batch)]
    return [torch.cat(both) for both in zip(runs, companions, strict=True)] + mixed
