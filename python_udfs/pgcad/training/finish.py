"""What is solved for when the towers have learned: the prior of texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from pgcad.encoders.checkpoint import load_checkpoint, save_checkpoint
from pgcad.encoders.prior import TextPrior
from pgcad.encoders.space import PRIOR
from pgcad.training.material import Material
from pgcad.training.prior import solve_prior
from pgcad.training.state import Standing
from pgcad.training.towers import Towers, load_tower
from pgcad.training.validation import validate


def finish(
    towers: Towers, material: Material, start: Mapping[str, Mapping[str, Tensor]] | None, out: Path, standing: Standing
) -> Standing:
    """Complete the best weights of a training, which are in `out`; returns how good they are then.

    A prior in `start` is what the new one begins with.
    """
    learned, _, _ = load_checkpoint(out)
    for name, tower in towers.named().items():
        load_tower(tower, name, learned)
    prior = TextPrior()
    if start is not None and PRIOR in start:
        load_tower(prior, PRIOR, start)
    solve_prior(prior, towers, material)
    fusion, found = validate(towers, material, None, prior)
    save_checkpoint(out, {**towers.named(), PRIOR: prior}, fusion)
    return replace(standing, best=found)
