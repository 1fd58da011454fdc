from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pgcad.encoders.checkpoint import save_checkpoint
from pgcad.encoders.fusion import FusionWeights
from pgcad.encoders.space import TOWERS, CadSpace


@pytest.fixture(scope="session")
def space() -> CadSpace:
    """The shipped space."""
    return CadSpace.load(device="cpu")


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A folder with a valid checkpoint of untrained towers."""
    torch.manual_seed(1)
    folder = tmp_path / "weights"
    save_checkpoint(folder, {name: tower() for name, tower in TOWERS.items()}, FusionWeights(1.0, 1.0, 1.0))
    return folder


def box_cloud(a_mm: float, b_mm: float, c_mm: float, seed: int = 0) -> NDArray[np.float32]:
    """(2048, 6) points on the surface of a box, spread evenly by area, with normals."""
    rng = np.random.default_rng(seed)
    size = np.array([a_mm, b_mm, c_mm])
    areas = np.repeat([b_mm * c_mm, a_mm * c_mm, a_mm * b_mm], 2)
    face = rng.choice(6, 2048, p=areas / areas.sum())
    axis, side = face // 2, face % 2
    xyz = rng.random((2048, 3))
    xyz[np.arange(2048), axis] = side
    normals = np.zeros((2048, 3))
    normals[np.arange(2048), axis] = 2 * side - 1
    return np.hstack([xyz * size, normals]).astype(np.float32)
