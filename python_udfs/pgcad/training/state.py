"""The state of a training after an epoch, from which it goes on as if it had never stopped."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pgcad.errors import CadError
from pgcad.training.towers import Towers
from pgcad.training.validation import Validation

_FORMAT = "pgcad-train-state-1"
_START_ANEW = "Start anew: leave out --resume."


@dataclass(frozen=True)
class Standing:
    """How far a training is: finished epochs, validation before it and at its best, and the epoch (from 1; 0: before
    training) that the best weights are of.
    """

    epoch: int
    before: Validation
    best: Validation
    best_epoch: int


def store(file: Path, run: str, towers: Towers, optimiser: torch.optim.Optimizer, standing: Standing) -> None:
    """Write the state of the run with the fingerprint `run`, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    state = {
        "format": _FORMAT,
        "run": run,
        "towers": towers.state_dict(),
        "optimiser": optimiser.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "standing": asdict(standing),
    }
    torch.save(state, partial)
    partial.rename(file)


def restore(file: Path, run: str, towers: Towers, optimiser: torch.optim.Optimizer) -> Standing:
    """Read the state of the run with the fingerprint `run` back into towers, optimiser and random numbers.

    Nothing in the file is executed (torch's weights-only loading). Raises CadError 55000 for a file that is missing,
    damaged or unsafe, and for the state of another run.
    """
    state = _read(file)
    if state["run"] != run:
        raise CadError(
            "55000",
            f"{file} is the state of a training on other data, with other options or from other weights",
            f"Repeat the command of that training and add --resume. {_START_ANEW}",
        )
    try:
        towers.load_state_dict(state["towers"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        if torch.cuda.is_available() and len(state["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        standing = state["standing"]
        validations = {name: Validation(**standing[name]) for name in ("before", "best")}
        return Standing(**{**standing, **validations})
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        message = f"{file} is the state of a training of towers of another architecture"
        raise CadError("55000", message, _START_ANEW, str(error)) from error


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise CadError("55000", f"there is no training to resume: no file {file}", _START_ANEW)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        message = f"the state of the training in {file} is damaged, or not safe to load"
        raise CadError("55000", message, _START_ANEW, str(error)) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT or not isinstance(state.get("run"), str):
        raise CadError("55000", f"{file} is not the state of a training of this version of pgcad", _START_ANEW)
    return state
