"""What scanners and other programs make of a part's surface: turned, noisy, seen from one side."""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

NOISE = 0.01
"""Standard deviation of noise, of the radius of the part's bounding sphere (as ModelNet-C's jitter)."""


def random_rotation(rng: Random) -> Rotation:
    """Uniform on SO(3)."""
    return Rotation.random(rng=np.random.default_rng(rng.getrandbits(64)))


def noisy(points: NDArray[np.floating], rng: Random, noise: float = NOISE) -> NDArray[np.float64]:
    """Points (n, 3) moved by normal noise of `noise` times the radius of their bounding sphere."""
    radius = float(np.linalg.norm(points - (points.max(0) + points.min(0)) / 2, axis=1).max())
    jitter = np.random.default_rng(rng.getrandbits(64)).normal(0, noise * radius, points.shape)
    return np.asarray(points + jitter, np.float64)


def facing(cloud: NDArray[np.floating], rng: Random) -> NDArray[np.floating]:
    """The points (k, 3) of a cloud (n, 6) whose normals face a random direction."""
    towards = random_rotation(rng).as_matrix()[0]
    return cloud[cloud[:, 3:] @ towards > 0, :3]
