"""From mixed batches to batches of one family."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pgcad.training.curriculum import batches, family_share

FAMILIES = torch.tensor([0] * 40 + [1] * 30 + [2] * 20 + list(range(3, 13)))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_share_grows_from_nothing_to_the_most() -> None:
    shares = [family_share(epoch, 5, 0.5) for epoch in range(5)]
    assert shares == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    assert family_share(0, 1, 0.5) == 0


@given(st.integers(0, 99), st.integers(2, 40), st.floats(0, 1))
def test_batches_are_full_and_hold_no_part_twice(seed: int, batch: int, share: float) -> None:
    found = batches(FAMILIES, batch, share, seeded(seed))
    assert [len(rows) for rows in found] == [batch] * (len(FAMILIES) // batch)
    everything = torch.cat(found).tolist()
    assert len(set(everything)) == len(everything)


def test_a_share_of_each_batch_is_of_one_family_while_there_are_enough() -> None:
    found = batches(FAMILIES, 20, 0.5, seeded(1))
    largest = [max(Counter(FAMILIES[rows].tolist()).values()) for rows in found]
    assert all(number >= 10 for number in largest)


def test_without_a_share_batches_are_a_plain_permutation() -> None:
    order = torch.randperm(len(FAMILIES), generator=seeded(3))
    assert torch.equal(torch.cat(batches(FAMILIES, 25, 0.0, seeded(3))), order)


def test_the_seed_decides() -> None:
    first, again, other = (torch.cat(batches(FAMILIES, 20, 0.5, seeded(seed))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
