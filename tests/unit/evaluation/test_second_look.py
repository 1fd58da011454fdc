"""The second look: the first hits are laid over, the others are taken to fit as badly as the worst of those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pgcad.corpus.records import record_file
from pgcad.corpus.split import Row
from pgcad.evaluation.gallery import Gallery
from pgcad.evaluation.second_look import LOOKED_AT, SecondLook, look_again


def box_cloud(size: tuple[float, float, float], seed: int) -> np.ndarray:
    """(2048, 6) on the surface of a box."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (2048, 3))
    axis, side = rng.integers(0, 3, 2048), rng.choice([-1.0, 1.0], 2048)
    points[np.arange(2048), axis] = side / 2
    normals = np.zeros((2048, 3))
    normals[np.arange(2048), axis] = side
    return np.hstack([points * size, normals]).astype(np.float32)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Boxes, each 5 % longer than the one before."""
    rows = [Row(f"box/{number}.step", "test", "box", "", "") for number in range(LOOKED_AT + 2)]
    for number, row in enumerate(rows):
        file = record_file(tmp_path, row.path)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, points=box_cloud((10 * 1.05**number, 6, 4), number))
    none = torch.zeros(len(rows), 1)
    return Gallery(rows, none, none, none, none, none, [], [], torch.arange(len(rows)), tmp_path)


def test_the_part_that_fits_comes_first(gallery: Gallery) -> None:
    scores = torch.linspace(0.9, 0.8, len(gallery.rows)).unsqueeze(0)
    look = look_again(scores, [box_cloud((10 * 1.05**4, 6, 4), 99)], gallery, workers=1)
    assert look.first.tolist() == [list(range(LOOKED_AT))]
    assert int(look.mixed().argmax()) == 4
    assert int(look.mixed(0.0).argmax()) == 0


def test_others_keep_their_order_behind(gallery: Gallery) -> None:
    look = SecondLook(torch.tensor([[0.9, 0.8, 0.7, 0.6]]), torch.tensor([[0, 1]]), torch.tensor([[0.2, 0.9]]))
    torch.testing.assert_close(look.mixed(1.0), torch.tensor([[1.1, 1.7, 0.9, 0.8]]))
