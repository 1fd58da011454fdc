"""Features that are kept are the same when they are read again."""

from __future__ import annotations

from pathlib import Path

import torch
from pgcad.training.features import text_features


def test_texts_have_the_same_features_before_and_after_they_are_stored(tmp_path: Path) -> None:
    first, again = (text_features(["hex nut M8", "六角螺母 M8"], tmp_path / "queries.npz") for _ in range(2))
    assert torch.equal(first.sentence, again.sentence)
    assert first.sentence.dtype == torch.float32
