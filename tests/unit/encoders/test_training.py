"""Losses, captions, splits and ranking."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from pgcad.training.captions import TEXTS_PER_PART, chinese, shortened, texts_of, training_rows
from pgcad.training.losses import NestedInfoNce, info_nce, same_part
from pgcad.training.ranking import neighbour_agreement, ranks, recall
from pgcad.training.split import Row, read_split
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


def test_ranks_count_ties_against() -> None:
    gallery = torch.eye(4)
    gallery[3] = gallery[0]
    assert ranks(torch.eye(4)[:2], gallery, torch.tensor([0, 1])).tolist() == [1, 0]


def test_recall_over_queries_and_families() -> None:
    found = recall(torch.tensor([0, 5, 20, 0]), ["a", "a", "a", "b"])
    assert (found.r1, found.r10) == (0.5, 0.75)
    assert found.r10_by_family == pytest.approx((2 / 3 + 1) / 2)


def test_neighbour_agreement_leaves_oneself_out() -> None:
    vectors = normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), dim=1)
    assert neighbour_agreement(vectors, ["a", "a", "b", "c"], torch.arange(4)) == 0.5


def row(split: str, number: int = 1) -> Row:
    return Row(
        f"Fam_{split}.3dshapes/PinHeader_2x0{number}_P1.27mm.step",
        split,
        f"{split}/series",
        f"pin header, 2x0{number}, 1.27mm pitch, double row",
        "pin header THT",
    )


def test_only_training_rows_give_captions() -> None:
    rows = [row(split) for split in ("train", "val", "test", "unseen_family")]
    assert training_rows(rows) == rows[:1]


def test_texts_of_a_part_speak_of_that_part_alone() -> None:
    texts = texts_of(row("train"), random.Random(0))
    assert len(texts) == TEXTS_PER_PART
    assert all(texts)
    joined = " ".join(texts)
    assert not any(word in joined for word in ("unseen", "2x02", "test"))


def test_texts_come_in_both_languages() -> None:
    texts = texts_of(row("train"), random.Random(0))
    assert any("排针" in text or "插针" in text for text in texts)
    assert texts[0] == row("train").caption


def test_chinese_keeps_numbers_and_names() -> None:
    text = chinese("Phoenix MSTB terminal block, 2x05, 1.27mm pitch", random.Random(0))
    assert "MSTB" in text
    assert "2x05" in text
    assert "1.27mm" in text
    assert "terminal" not in text
    assert "间距" in text


def test_shortened_keeps_words_of_the_original_only() -> None:
    text = "pin header, double row, 2.54mm pitch"
    for seed in range(20):
        words = shortened(text, random.Random(seed)).replace(",", "").split()
        assert words
        assert set(words) <= set(text.replace(",", "").split())


def test_a_series_in_two_splits_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "split.tsv"
    head = "path\tsplit\tseries\tcaption\ttags\n"
    file.write_text(head + "A.3dshapes/a1.step\ttrain\tA/a#\t\t\nA.3dshapes/a2.step\ttest\tA/a#\t\t\n")
    with pytest.raises(ValueError, match="two splits"):
        read_split(file)
    file.write_text(head + "A.3dshapes/a1.step\tholdout\tA/a#\t\t\n")
    with pytest.raises(ValueError, match="unknown split"):
        read_split(file)
