"""`pgcad train` from beginning to end, on a vault of two dozen parts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pgcad.corpus.captions import TEXTS_PER_PART
from pgcad.encoders.checkpoint import load_checkpoint, save_checkpoint
from pgcad.encoders.fusion import FusionWeights, fuse
from pgcad.encoders.shape_tower import EdgeTower, PointTower
from pgcad.encoders.space import TOWERS, CadSpace
from pgcad.errors import CadError
from pgcad.training.card import CARD_FILE
from pgcad.training.command import STATE_FILE, main
from pgcad.training.encode import brep_vectors, image_vectors, shape_vectors, text_vectors, view_vectors
from pgcad.training.material import Material
from pgcad.training.towers import Towers
from pgcad_load.cli import app
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.nn.functional import normalize
from typer.testing import CliRunner
from unit.training.conftest import Vault

GRAPH_EPOCHS, EPOCHS = 2, 24


def arguments(vault: Vault, out: Path, *more: str) -> list[str]:
    where = ["--data", str(vault.folder), "--cache", str(vault.cache), "--out", str(out)]
    how = ["--graph-epochs", str(GRAPH_EPOCHS), "--epochs", str(EPOCHS), "--batch", "8", "--device", "cpu"]
    return [*where, *how, *more]


@pytest.fixture(scope="module")
def trained(vault: Vault, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with weights from a training that began with nothing, and its logs."""
    out = tmp_path_factory.mktemp("trained")
    more = ["--from", "none", "--learning-rate", "1e-3", "--logs", str(out / "logs"), "--data-licence", "CC0"]
    assert main(arguments(vault, out, *more)) == 0
    return out


@pytest.fixture(scope="module")
def logs(trained: Path) -> EventAccumulator:
    return EventAccumulator(str(trained / "logs")).Reload()


def values(logs: EventAccumulator, name: str) -> list[float]:
    return [event.value for event in logs.Scalars(name)]


def test_the_loss_falls(logs: EventAccumulator) -> None:
    losses = values(logs, "loss/all")[GRAPH_EPOCHS:]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_the_logs_hold_what_one_watches(logs: EventAccumulator) -> None:
    steps = len(values(logs, "loss/all"))
    assert len(values(logs, "loss/text-brep")) == len(values(logs, "learning rate")) == steps
    assert values(logs, "temperature")[0] == pytest.approx(1 / 20, rel=0.01)
    assert [event.step for event in logs.Scalars("validation/score")] == [0, 1, 2, 6, 11, 16, 21, 26]


def test_the_best_weights_are_no_worse_than_those_before(logs: EventAccumulator, trained: Path) -> None:
    scores = values(logs, "validation/score")
    assert max(scores) >= scores[0]
    told = re.search(r"^\| score \| (\S+) \| (\S+) \|$", (trained / CARD_FILE).read_text("utf-8"), re.MULTILINE)
    assert told is not None
    assert [float(figure) for figure in told.groups()] == pytest.approx([scores[0], max(scores)], abs=1e-3)


def test_the_weights_load_and_their_card_says_how_they_were_made(trained: Path, vault: Vault) -> None:
    space = CadSpace.load(trained, "cpu")
    assert np.linalg.norm(space.embed_text(["washer M8"])) == pytest.approx(1.0, abs=1e-3)
    card = (trained / CARD_FILE).read_text("utf-8")
    for said in (
        f"`{space.version}`",
        "pgcad train --data",
        "Licence of the data: CC0",
        f"{vault.told} of them with text",
    ):
        assert said in card
    assert not (trained / STATE_FILE).exists()


def test_parts_that_nobody_described_are_supposed_to_be_what_they_are(trained: Path, material: Material) -> None:
    space = CadSpace.load(trained, "cpu")
    solid = (material.has_text & material.has_brep).nonzero().flatten()
    text = text_vectors(space.text_tower, material.texts).unflatten(0, (-1, TEXTS_PER_PART)).mean(1)
    text = text[material.text_row[solid]]
    image = image_vectors(view_vectors(space.image_tower, material.corpus))[solid]
    shape = shape_vectors(space.shape_tower, material.corpus)[solid]
    brep = brep_vectors(space.brep_tower, material.corpus)[solid]

    def likeness(supposed: np.ndarray | None) -> float:
        assert supposed is not None
        return float((torch.from_numpy(supposed) * normalize(text, dim=1)).sum(1).mean())

    fused = fuse(space.fusion, None, image, shape, brep).numpy()
    given = [vectors.numpy() for vectors in (image, shape, brep)]
    assert likeness(space.suppose_text(given[0], given[1], given[2])) > likeness(fused)
    assert likeness(space.suppose_text(given[0], given[1], None)) > likeness(fused)


def test_a_finished_training_cannot_be_resumed(trained: Path, vault: Vault) -> None:
    with pytest.raises(CadError, match="no training to resume"):
        main(arguments(vault, trained, "--from", "none", "--resume"))


def no_features(*_: object) -> None:
    """Instead of minutes of them, where the training does not get so far."""


def test_training_begins_with_the_shipped_weights(
    trained: Path, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: dict[str, Tensor] = {}

    def stop(towers: Towers, *rest: object) -> None:
        began.update(towers.state_dict())
        raise KeyboardInterrupt

    monkeypatch.setattr("pgcad.training.command.fit", stop)
    monkeypatch.setattr("pgcad.training.command.load_material", no_features)
    monkeypatch.setattr("pgcad.training.command.WEIGHTS", trained)
    assert main(arguments(vault, tmp_path)) == 130
    shipped, _, _ = load_checkpoint(trained)
    assert shipped.keys() == {"text", "image", "shape", "brep", "prior"}
    del shipped["prior"]
    for tower, tensors in shipped.items():
        assert all(torch.equal(began[f"{tower}.{name}"], tensor) for name, tensor in tensors.items())


def test_another_shape_network_begins_anew_and_all_else_as_it_was(trained: Path, vault: Vault, tmp_path: Path) -> None:
    how = ["--from", str(trained), "--shape-network", "pointnet", "--graph-epochs", "1", "--epochs", "0"]
    assert main([*arguments(vault, tmp_path), *how, "--learning-rate", "0"]) == 0
    space, before = CadSpace.load(tmp_path, "cpu"), CadSpace.load(trained, "cpu")
    assert isinstance(space.shape_tower, PointTower)
    cloud = np.random.default_rng(1).normal(size=(1, 2048, 6)).astype(np.float32)
    assert np.linalg.norm(space.embed_points(cloud)) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_array_equal(space.embed_text(["washer M8"]), before.embed_text(["washer M8"]))
    assert 'shape network "pointnet"' in (tmp_path / CARD_FILE).read_text("utf-8")


def test_weights_of_another_architecture_are_no_beginning(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgcad.training.command.load_material", no_features)
    towers = {name: tower() for name, tower in TOWERS.items()}
    save_checkpoint(tmp_path / "other", {**towers, "shape": EdgeTower(hidden=64)}, FusionWeights(1.0, 1.0, 1.0))
    with pytest.raises(CadError, match="the shape tower of the starting weights does not fit") as error:
        main(arguments(vault, tmp_path / "out", "--from", str(tmp_path / "other")))
    assert "--from none" in error.value.hint


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "either --data"),
        (["--data", "a", "--split", "b"], "either --data"),
        (["--split", "b"], "needs --models"),
        (["--data", "a", "--batch", "1"], "too few"),
        (["--data", "a", "--family-share", "2"], "not between 0 and 1"),
        (["--data", "a", "--device", "tpu"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_refused(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(more)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


def test_a_vault_that_cannot_be_used_is_a_message_and_not_a_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no part file under" in result.output and "Traceback" not in result.output
    result = CliRunner().invoke(app, ["train", "--data", str(tmp_path / "missing"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no such file or folder" in result.output


def test_weights_are_not_trained_over_those_they_begin_with(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(CadError, match="the same folder"):
        main(arguments(vault, tmp_path, "--from", str(tmp_path)))


def test_logs_without_tensorboard_say_what_to_install(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(CadError, match="needs the package tensorboard") as error:
        main(arguments(vault, tmp_path, "--logs", str(tmp_path / "logs")))
    assert "pgcad[train]" in error.value.hint
