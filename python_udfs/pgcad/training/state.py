"""The state of a training after an epoch, from which it can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pgcad.training.towers import Towers


def store(file: Path, towers: Towers, optimiser: torch.optim.Optimizer, epoch: int, best: float) -> None:
    """Write the state after `epoch` epochs, whole or not at all."""
    partial = file.with_suffix(".partial")
    torch.save(
        {"towers": towers.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch, "best": best}, partial
    )
    partial.rename(file)


def restore(file: Path, towers: Towers, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Read it back; returns the number of finished epochs and the best validation figure so far."""
    state: dict[str, Any] = torch.load(file, weights_only=True)
    towers.load_state_dict(state["towers"])
    optimiser.load_state_dict(state["optimiser"])
    return state["epoch"], state["best"]
