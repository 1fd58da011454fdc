"""Ranks, intervals and what counts as right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pgcad.corpus.split import Row
from pgcad.corpus.twins import twin_labels
from pgcad.evaluation.families import FamilyQuery, read_family_queries, right_families
from pgcad.evaluation.intervals import share
from pgcad.evaluation.lexical import lexical_scores
from pgcad.evaluation.numbers import right_numbers
from pgcad.evaluation.ranking import mean_by_family, neighbour_agreement, ranks, ranks_of, recall
from torch.nn.functional import normalize


def test_ranks_count_ties_against() -> None:
    gallery = torch.eye(4)
    gallery[3] = gallery[0]
    assert ranks(torch.eye(4)[:2], gallery, torch.tensor([0, 1])).tolist() == [1, 0]


def test_what_is_no_number_is_last() -> None:
    scores = torch.full((1, 4), torch.nan)
    assert ranks_of(scores, torch.tensor([0])).tolist() == [3]
    assert ranks_of(scores, torch.tensor([0]), torch.tensor([0, 0, 1, 2])).tolist() == [2]


def test_a_twin_is_the_part_itself() -> None:
    scores = torch.tensor([[0.2, 0.9, 0.5, 0.9]])
    target = torch.tensor([0])
    assert ranks_of(scores, target).tolist() == [3]
    assert ranks_of(scores, target, torch.tensor([0, 0, 1, 2])).tolist() == [1]  # 1 is its twin, 3 is another part
    assert ranks_of(scores, target, torch.tensor([0, 0, 1, 0])).tolist() == [0]


def test_recall_counts_the_first_ones() -> None:
    assert recall(torch.tensor([0, 5, 20, 0]), 1) == 0.5
    assert recall(torch.tensor([0, 5, 20, 0]), 10) == 0.75
    assert mean_by_family([True, True, False, True], ["a", "a", "a", "b"]) == pytest.approx((2 / 3 + 1) / 2)


def test_neighbour_agreement_leaves_oneself_out() -> None:
    vectors = normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), dim=1)
    assert neighbour_agreement(vectors, ["a", "a", "b", "c"], torch.arange(4)) == [True, True, False, False]


def test_intervals_hold_the_share_and_shrink_with_more_queries() -> None:
    rng = np.random.default_rng(0)
    few = share([True, False] * 10, ["a", "b"] * 10, rng)
    many = share([True, False] * 500, ["a", "b"] * 500, rng)
    for found in (few, many):
        assert found.micro.value == 0.5
        assert found.micro.low < 0.5 < found.micro.high
    assert many.micro.high - many.micro.low < (few.micro.high - few.micro.low) / 3


def test_families_count_alike_however_large_they_are() -> None:
    found = share([True] * 9 + [False], ["large"] * 9 + ["small"], np.random.default_rng(0))
    assert found.micro.value == 0.9
    assert found.macro.value == 0.5


def test_no_query_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="no query"):
        share([], [], np.random.default_rng(0))


def test_words_find_what_shares_rare_words() -> None:
    parts = ["part, 10 x 5 x 2 mm, 6 faces", "part, 80 x 5 x 2 mm, 12 faces", "零件，外形尺寸 10 mm"]
    scores = lexical_scores(["10 mm part with 6 faces", "零件尺寸"], parts)
    assert scores.argmax(1).tolist() == [0, 2]


def row(name: str, caption: str) -> Row:
    return Row(f"Pins.3dshapes/{name}.step", "test", name, caption, "")


def test_the_first_hit_must_have_every_number_that_was_asked_for() -> None:
    rows = [row("a_2x05_P2.54mm", "header, 2x05, 2.54mm pitch"), row("b_2x05_P2.00mm", "header, 2x05, 2.00mm pitch")]
    queries = ["10 pins, pitch 2.54 mm", "10 pins, pitch 2.54 mm", "a header"]
    found = right_numbers(queries, [rows[0], rows[1], rows[0]])
    assert {role: (which.tolist(), hits) for role, (which, hits) in found.items()} == {
        "pitch_mm": ([0, 1], [True, False]),
        "pins": ([0, 1], [True, True]),
        "all": ([0, 1], [True, False]),
        "length_mm": ([0, 1], [True, False]),
    }


def test_family_questions_ask_in_both_languages(tmp_path: Path) -> None:
    file = tmp_path / "queries.tsv"
    file.write_text("query_zh\tquery_en\tfamily_regex\n压敏电阻\tvaristor\t^Varistor$\n电池盒\tholder\t^Battery$\n")
    queries = read_family_queries(file)
    assert queries[0] == FamilyQuery("varistor", "压敏电阻", queries[0].families)
    answers = {"varistor": "Varistor", "holder": "Fuse", "压敏电阻": None, "电池盒": "Battery"}
    found = right_families(queries, answers.get)
    assert {language: hits for language, (_, hits) in found.items()} == {"en": [True, False], "zh": [False, True]}


def test_twins_are_equal_surfaces_and_no_others() -> None:
    cloud = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    shifted = cloud + np.float32(0.01)
    swapped = cloud.copy()
    swapped[:, 0] = cloud[::-1, 0]  # same moments, another shape
    labels = twin_labels([cloud, shifted, cloud.copy(), swapped])
    assert labels[0] == labels[2]
    assert len(set(labels.tolist())) == 3
