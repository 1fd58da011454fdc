"""2,048 points on a surface, the same ones every time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pgcad.geometry.surface import Surface

POINT_COUNT = 2048
SEED = 20240229
_PLASTIC = 1.32471795724474602596
"""The real root of x³ = x + 1; its powers give the R2 low-discrepancy sequence (Roberts, 2018)."""


def sample_surface(surface: Surface, count: int = POINT_COUNT, seed: int = SEED) -> NDArray[np.float32]:
    """Points spread evenly by area, with the normals of their triangles: float32 (count, 6), mm and unit normals.

    Stratified along the cumulative area (one point per equal share) and shuffled with a fixed seed, so that any
    prefix is a fair sample too.
    """
    cumulative = np.cumsum(surface.areas_mm2)
    rng = np.random.default_rng(seed)
    ticks = (np.arange(count) + 0.5) / count * cumulative[-1]
    chosen = np.minimum(np.searchsorted(cumulative, ticks), len(cumulative) - 1)
    index = np.arange(1, count + 1)
    u, v = (0.5 + index / _PLASTIC) % 1.0, (0.5 + index / _PLASTIC**2) % 1.0
    u, v = np.where(u + v > 1, 1 - u, u)[:, None], np.where(u + v > 1, 1 - v, v)[:, None]
    a, b, c = (surface.vertices_mm[surface.triangles[chosen, i]] for i in range(3))
    points = np.hstack([a + u * (b - a) + v * (c - a), surface.normals[chosen]])
    return points[rng.permutation(count)].astype(np.float32)
