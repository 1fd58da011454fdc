"""Captions and splits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pgcad.corpus.captions import TEXTS_PER_PART, chinese, shortened, texts_of, training_rows
from pgcad.corpus.split import Row, read_split


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
