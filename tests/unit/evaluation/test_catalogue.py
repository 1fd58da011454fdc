"""What a table says of answers by a whole search: twins count as the part, no answer counts as wrong."""

from __future__ import annotations

from pathlib import Path

import torch
from pgcad.corpus.split import Row
from pgcad.evaluation.catalogue import Asked, table_rows
from pgcad.evaluation.gallery import Gallery


def gallery() -> Gallery:
    captions = ["header, pitch 2.54mm", "header, pitch 2.00mm", "its twin, 2.54mm pitch", "a box"]
    splits = ["test", "test", "train", "unseen_family"]
    rows = [
        Row(f"Pins.3dshapes/{number}.step", split, str(number), caption, "")
        for number, (split, caption) in enumerate(zip(splits, captions, strict=True))
    ]
    none = torch.empty(0)
    return Gallery(rows, none, none, none, none, none, [], [], torch.tensor([0, 1, 0, 3]), Path("nowhere"))


def test_answers_are_counted_by_split_and_altogether() -> None:
    texts = ["pitch 2.54 mm", "pitch 2.00 mm", "a box"]
    asked = Asked(texts, [0, 1, 3], [[2, 1], [0, 1], []])
    assert list(table_rows(gallery(), asked, ["test", "unseen_family"])) == [
        "test | 2 | 0.500 | 1.000 | 0.500 of 2 |",
        "unseen_family | 1 | 0.000 | 0.000 | none asked for |",
        "all | 3 | 0.333 | 0.667 | 0.500 of 2 |",
    ]


def test_one_split_is_not_counted_twice() -> None:
    asked = Asked(["a box"], [3], [[3]])
    assert list(table_rows(gallery(), asked, ["unseen_family"])) == [
        "unseen_family | 1 | 1.000 | 1.000 | none asked for |"
    ]
