"""The lessons of the image backbone: every part is a class, and twins are not told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from pgcad.training.image import Album, ImageOptions, ImageStudent, _batches, _classified, begin_classes, train_images
from pgcad.training.pictures import PICTURES

SIDE = 64


def album(twins: list[int]) -> Album:
    """Bars of different widths, one a part, in all pictures of it."""
    pictures = np.full((len(twins), PICTURES, SIDE, SIDE), 255, np.uint8)
    for part in range(len(twins)):
        pictures[part, :, 8:-8, 8 : 20 + 9 * part] = 60
    return Album(pictures, torch.tensor(twins))


def test_every_part_has_its_turn_before_one_comes_again() -> None:
    rounds = itertools.islice(_batches(10, ImageOptions(seed=1, minutes=1, batch=3), 0.0), 3)
    shown = torch.cat(list(rounds)).tolist()
    assert len(set(shown)) == len(shown) == 9


def test_fewer_parts_than_a_batch_are_one_batch() -> None:
    rows = next(_batches(2, ImageOptions(seed=1, minutes=1, batch=64), 0.0))
    assert sorted(rows.tolist()) == [0, 1]


def test_a_twin_does_not_count_against_a_part() -> None:
    student = ImageStudent(3)
    with torch.no_grad():
        student.classes[:, :3] = torch.tensor([[1.0, 0, 0], [1, 0.01, 0], [0, 0, 1]])
    vectors = torch.zeros(1, student.classes.shape[1])
    vectors[0, :3] = torch.tensor([1.0, 0.02, 0])
    alone, first_alone = _classified(student, vectors, torch.tensor([0]), torch.tensor([0, 1, 2]))
    with_twin, first_with_twin = _classified(student, vectors, torch.tensor([0]), torch.tensor([0, 0, 2]))
    assert (first_alone, first_with_twin) == (0.0, 1.0)
    assert with_twin.item() == pytest.approx(0.0, abs=1e-6)
    assert alone.item() > 0.5


def test_a_student_learns_and_tells_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    student, pictures = ImageStudent(4), album([0, 1, 2, 3])
    begin_classes(student, pictures)
    assert student.classes.norm(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-3)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    told: list[float] = []
    train_images(student, pictures, ImageOptions(seed=1, minutes=0.1, batch=4), had=0.05, keep=told.append)
    assert told[-1] == 0.1
    changed = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not any(name.startswith(("tower.backbone.stem", "tower.backbone.blocks.4.")) for name in changed)
    assert {"classes", "log_scale", "tower.backbone.last.weight"} <= changed
