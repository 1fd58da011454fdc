"""What is solved for in the end goes with the best weights, not with the last."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pgcad.encoders.checkpoint import load_checkpoint, save_checkpoint
from pgcad.encoders.fusion import FusionWeights
from pgcad.encoders.prior import TextPrior
from pgcad.training.finish import finish
from pgcad.training.material import Material
from pgcad.training.state import Standing
from pgcad.training.towers import Towers
from pgcad.training.validation import Validation, validate

FOUND = Validation(0.5, 0.5, 0.5, 0.5, (0.5, 0.5, 0.5))


def test_the_best_weights_are_completed_and_judged_with_the_prior(
    towers: Towers, material: Material, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, towers.named(), FusionWeights(1.0, 1.0, 1.0))
    before, _, _ = load_checkpoint(tmp_path)
    with torch.no_grad():
        towers.text.numbers.weight.zero_()  # what an epoch after the best one did
    standing = finish(towers, material, None, tmp_path, Standing(3, FOUND, FOUND, 2))
    after, fusion, _ = load_checkpoint(tmp_path)
    assert after.keys() == {*before, "prior"}
    assert all(torch.equal(tensor, after[tower][name]) for tower in before for name, tensor in before[tower].items())
    prior = TextPrior()
    prior.load_state_dict(after["prior"])
    again, found = validate(towers, material, None, prior)
    assert (again, standing.before, standing.epoch, standing.best_epoch) == (fusion, FOUND, 3, 2)
    assert standing.best.figures() == pytest.approx(found.figures(), abs=0.05)
