"""The state of a training: whole, safe, and of this training only."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pgcad.errors import CadError
from pgcad.training.state import Standing, restore, store
from pgcad.training.towers import Towers
from pgcad.training.validation import Validation

STANDING = Standing(
    3, Validation(0.1, 0.2, 0.0, 0.3, (0.9, 0.1, 0.2)), Validation(0.5, 0.4, 0.3, 0.4, (0.9, 0.2, 0.2)), 2
)
RUN = "run 1"


def optimiser_of(towers: Towers) -> torch.optim.Optimizer:
    return torch.optim.AdamW(towers.parameters())


@pytest.fixture
def stored(towers: Towers, tmp_path: Path) -> Path:
    file = tmp_path / "out" / "train-state.pt"
    store(file, RUN, towers, optimiser_of(towers), STANDING)
    return file


def test_everything_comes_back(stored: Path, towers: Towers) -> None:
    expected = torch.rand(3)
    weights = {name: tensor.clone() for name, tensor in towers.state_dict().items()}
    with torch.no_grad():
        towers.loss.log_scale.add_(1.0)
    standing = restore(stored, RUN, towers, optimiser_of(towers))
    assert standing == STANDING
    assert all(torch.equal(tensor, weights[name]) for name, tensor in towers.state_dict().items())
    assert torch.equal(torch.rand(3), expected)


def test_nothing_half_written_is_left(stored: Path) -> None:
    assert [file.name for file in stored.parent.iterdir()] == [stored.name]


def test_the_state_of_another_run_is_refused(stored: Path, towers: Towers) -> None:
    with pytest.raises(CadError, match="other data, with other options or from other weights") as error:
        restore(stored, "run 2", towers, optimiser_of(towers))
    assert error.value.sqlstate == "55000"
    assert "--resume" in error.value.hint


def test_a_missing_state_is_refused(towers: Towers, tmp_path: Path) -> None:
    with pytest.raises(CadError, match="no training to resume"):
        restore(tmp_path / "train-state.pt", RUN, towers, optimiser_of(towers))


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.file,)


def test_a_pickle_is_never_executed(towers: Towers, tmp_path: Path) -> None:
    trap, file = tmp_path / "sprung", tmp_path / "train-state.pt"
    torch.save({"format": "pgcad-train-state-1", "run": RUN, "towers": Trap(trap)}, file)
    with pytest.raises(CadError, match="damaged, or not safe"):
        restore(file, RUN, towers, optimiser_of(towers))
    file.write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(CadError, match="damaged, or not safe"):
        restore(file, RUN, towers, optimiser_of(towers))
    assert not trap.exists()


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 500])
def test_a_damaged_state_is_refused(stored: Path, towers: Towers, damage: Callable[[bytes], bytes]) -> None:
    stored.write_bytes(damage(stored.read_bytes()))
    with pytest.raises(CadError, match="damaged, or not safe"):
        restore(stored, RUN, towers, optimiser_of(towers))


@pytest.mark.parametrize("content", [[1, 2], {"format": "another"}, {"format": "pgcad-train-state-1"}])
def test_what_is_no_state_is_refused(towers: Towers, tmp_path: Path, content: object) -> None:
    file = tmp_path / "train-state.pt"
    torch.save(content, file)
    with pytest.raises(CadError, match="not the state of a training"):
        restore(file, RUN, towers, optimiser_of(towers))


def test_another_architecture_is_refused(stored: Path, towers: Towers) -> None:
    state = torch.load(stored, weights_only=True)
    state["towers"].popitem()
    torch.save(state, stored)
    with pytest.raises(CadError, match="another architecture"):
        restore(stored, RUN, towers, optimiser_of(towers))


def test_a_standing_of_other_figures_is_refused(stored: Path, towers: Towers) -> None:
    state = torch.load(stored, weights_only=True)
    state["standing"]["best"] = {"recall": 1.0}
    torch.save(state, stored)
    with pytest.raises(CadError, match="another architecture"):
        restore(stored, RUN, towers, optimiser_of(towers))
