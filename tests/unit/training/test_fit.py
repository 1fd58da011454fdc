"""The training itself: it is the same for the same seed, it goes on as if it had never stopped, it keeps the best."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pgcad.encoders.checkpoint import load_checkpoint
from pgcad.encoders.fusion import FusionWeights
from pgcad.errors import CadError
from pgcad.training import fit as fit_module
from pgcad.training.fit import FitOptions, RunOptions, fit
from pgcad.training.image_lessons import taught_image_tower
from pgcad.training.material import Material
from pgcad.training.monitor import Monitor
from pgcad.training.state import Standing
from pgcad.training.towers import Seen, Towers
from pgcad.training.validation import Validation

OPTIONS = FitOptions(graph_epochs=2, epochs=4, batch=8, learning_rate=1e-3, family_share=0.5, seed=3)


def untrained() -> Towers:
    torch.manual_seed(1)
    return Towers(taught_image_tower([], None, Path(), seed=1, minutes=0, workers=1))


def run_in(folder: Path, resume: bool = False, minutes: float = math.inf) -> RunOptions:
    return RunOptions(folder, folder / "train-state.pt", "run", resume, minutes)


def trained(towers: Towers, material: Material, run: RunOptions, options: FitOptions = OPTIONS) -> Standing:
    with Monitor() as monitor:
        return fit(towers, material, options, run, monitor)


@pytest.fixture(scope="module")
def uninterrupted(material: Material, tmp_path_factory: pytest.TempPathFactory) -> tuple[Towers, Standing, Path]:
    folder, towers = tmp_path_factory.mktemp("uninterrupted"), untrained()
    return towers, trained(towers, material, run_in(folder)), folder


def test_a_training_that_stopped_after_every_epoch_ends_with_the_same_weights(
    uninterrupted: tuple[Towers, Standing, Path], material: Material, tmp_path: Path
) -> None:
    expected, whole, folder = uninterrupted
    standing = trained(untrained(), material, run_in(tmp_path, minutes=0))
    epochs = [standing.epoch]
    while standing.epoch < OPTIONS.graph_epochs + OPTIONS.epochs:
        torch.manual_seed(99)  # what an earlier process drew is gone
        towers = untrained()
        standing = trained(towers, material, run_in(tmp_path, resume=True, minutes=0))
        epochs.append(standing.epoch)
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert standing == whole
    assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in towers.state_dict().items())
    kept, fusion, _ = load_checkpoint(tmp_path)
    expected_kept, expected_fusion, _ = load_checkpoint(folder)
    assert fusion == expected_fusion
    for name, tower in expected_kept.items():
        assert all(torch.equal(tensor, kept[name][key]) for key, tensor in tower.items())


def test_the_seed_decides(uninterrupted: tuple[Towers, Standing, Path], material: Material, tmp_path: Path) -> None:
    expected = uninterrupted[0].state_dict()
    other = untrained()
    trained(other, material, run_in(tmp_path), replace(OPTIONS, seed=4))
    assert any(not torch.equal(tensor, expected[name]) for name, tensor in other.state_dict().items())


def test_the_state_of_other_options_is_refused(material: Material, tmp_path: Path) -> None:
    trained(untrained(), material, run_in(tmp_path, minutes=0))
    with pytest.raises(CadError, match="other options"):
        trained(untrained(), material, replace(run_in(tmp_path, resume=True), run="another run"))


def scored(figure: float) -> Validation:
    return Validation(figure, figure, figure, figure, (figure,) * 3)


def test_weights_that_are_worse_are_not_kept(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([0.5, 0.7, 0.6, 0.7, 0.1, 0.2])

    def scripted(towers: Towers, material: Material, seen: Seen | None) -> tuple[FusionWeights, Validation]:
        towers.eval()
        return FusionWeights(1.0, 1.0, 1.0, 1.0), scored(next(figures))

    saved: list[dict[str, torch.nn.Module]] = []
    monkeypatch.setattr(fit_module, "validate", scripted)
    monkeypatch.setattr(fit_module, "save_checkpoint", lambda folder, towers, fusion: saved.append(towers))
    standing = trained(untrained(), material, run_in(tmp_path), replace(OPTIONS, graph_epochs=3, epochs=2))
    assert standing.before.text == 0.5
    assert standing.best.text == 0.7 and standing.best_epoch == 3
    assert len(saved) == 3  # before, and after epochs 1 and 3


def test_a_training_that_breaks_down_says_so_and_keeps_what_was_there(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers = untrained()

    def broken(*_: object) -> dict[str, torch.Tensor]:
        return {"text-brep": towers.loss.log_scale * math.nan, "text-shape": towers.loss.log_scale}

    monkeypatch.setattr(fit_module, "batch_losses", broken)
    with pytest.raises(CadError, match="the loss of text-brep is no number") as error:
        trained(towers, material, run_in(tmp_path))
    assert error.value.sqlstate == "22000"
    kept, _, _ = load_checkpoint(tmp_path)
    assert all(tensor.isfinite().all() for tower in kept.values() for tensor in tower.values())
