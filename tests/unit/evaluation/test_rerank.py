"""What would be learned from pictures and scans."""

from __future__ import annotations

import pytest
import torch
from pgcad.evaluation.rerank import show_learned


def test_a_score_that_tells_more_takes_the_weight(capsys: pytest.CaptureFixture[str]) -> None:
    generator, targets = torch.Generator().manual_seed(3), torch.arange(40)
    own, text = torch.rand(2, 40, 300, generator=generator)
    own[targets, targets] = 0.8
    text[targets, targets] = 2.0
    show_learned("picture", targets, own, {"text": text}, torch.arange(300))
    *_, row, _ = capsys.readouterr().out.split("\n")[:-1]
    mix, before, then, gain = row.strip("| ").split(" | ")
    own_weight, text_weight = map(float, mix.split(", "))
    assert own_weight < text_weight
    assert float(before) < float(then) == 1
    assert float(gain.split(" to ")[0]) > 0
