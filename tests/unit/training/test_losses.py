"""Contrastive losses."""

from __future__ import annotations

import torch
from pgcad.training.losses import NestedInfoNce, info_nce, same_part
from torch.nn.functional import normalize

SCALE = torch.tensor(10.0)


def unit(n: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(n, 512, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_same_part_marks_shared_labels_but_not_oneself() -> None:
    marked = same_part(torch.tensor([1, 1, 2, 3]), torch.tensor([5, 6, 7, 7]))
    assert marked.tolist() == [
        [False, True, False, False],
        [True, False, False, False],
        [False, False, False, True],
        [False, False, True, False],
    ]


def test_duplicates_are_no_negatives() -> None:
    vectors = unit(4, 0)
    doubled = torch.cat([vectors, vectors[:1]])
    labels = torch.tensor([0, 1, 2, 3, 0])
    aware = info_nce(doubled, doubled, SCALE, same_part(labels))
    blind = info_nce(doubled, doubled, SCALE, torch.zeros(5, 5, dtype=torch.bool))
    assert aware < blind / 5


def test_duplicates_pull_no_gradient_from_each_other() -> None:
    a, b = unit(2, 0).requires_grad_(), unit(2, 1)
    info_nce(a, b, SCALE, same_part(torch.tensor([0, 0]))).backward()
    assert a.grad is not None
    assert a.grad.abs().max() < 1e-6


def test_matching_pairs_have_the_lower_loss_in_every_nested_dimension() -> None:
    a, none = unit(8, 0), torch.zeros(8, 8, dtype=torch.bool)
    loss = NestedInfoNce()
    assert loss(a, a, none) < loss(a, unit(8, 1), none)
    broken = a.clone()
    broken[:, :128] = unit(8, 2)[:, :128]
    assert loss(a, a, none) < loss(a, broken, none)
