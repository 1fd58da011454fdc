"""The numbers that a drawing of a part would give, read off its faces and edges: how often equal faces repeat and at
which distances, diameters, lengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pgcad.geometry.brep_graph import GRID, BrepGraph

MEASURES = ("count", "pitch_mm", "diameter_mm", "length_mm")
MOST_VALUES = 64
_SAME_AREA = 0.005
"""Relative difference of areas below which faces of one type count as congruent."""
_SAME_PITCH = 0.02
_SMALLEST_MM = 1e-3
_LINE = 0  # GeomAbs_Line
# The middles of GRID cells along a length l have the variance l² / 12 × (1 − 1 / GRID²).
_LENGTHS_PER_DEVIATION = np.sqrt(12 / (1 - 1 / GRID**2))


def measures(graph: BrepGraph) -> dict[str, NDArray[np.float64]]:
    """Every value of MEASURES, in mm but for the counts: sizes of groups of congruent faces and the distances at which
    these repeat evenly, diameters of what is round, lengths of faces and straight edges.
    """
    counts, pitches = _repeats(graph)
    return {
        "count": counts,
        "pitch_mm": pitches,
        "diameter_mm": 2 * graph.radius_mm[graph.radius_mm > 0].astype(float),
        "length_mm": np.concatenate([face_lengths(graph)[:, 1:].flatten(), _straight_edges(graph)]),
    }


def short_measures(graph: BrepGraph) -> dict[str, list[float]]:
    """The different values of each of MEASURES to four digits, ascending; of more than MOST_VALUES, the most common."""
    return {name: _most_common(values) for name, values in measures(graph).items()}


def face_lengths(graph: BrepGraph) -> NDArray[np.float64]:
    """(n, 3) mm ascending: how far each face spreads along its principal axes; exact for rectangles."""
    points = graph.grid[..., :3].reshape(len(graph.grid), -1, 3).astype(float)
    centred = points - points.mean(1, keepdims=True)
    variances = np.linalg.eigvalsh(np.einsum("fpi,fpj->fij", centred, centred) / points.shape[1]).clip(0)
    lengths: NDArray[np.float64] = np.sqrt(variances) * _LENGTHS_PER_DEVIATION
    return lengths


def _straight_edges(graph: BrepGraph) -> NDArray[np.float64]:
    return graph.length_mm[graph.curve_type == _LINE].astype(float)


def _repeats(graph: BrepGraph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Size of every group of congruent faces, and the distance at which each group repeats, if it does evenly."""
    area = np.round(np.log(np.maximum(graph.area_mm2, _SMALLEST_MM**2)) / _SAME_AREA)
    keys = np.column_stack([graph.face_type, area, np.round(graph.radius_mm, 3)])
    _, group = np.unique(keys, axis=0, return_inverse=True)
    counts, pitches = [], []
    for members in np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group.reshape(-1)))[:-1]):
        if len(members) < 2:
            continue
        counts.append(len(members))
        near = cKDTree(graph.centroid_mm[members]).query(graph.centroid_mm[members], k=2)[0][:, 1]
        pitch = float(np.median(near))
        if pitch > _SMALLEST_MM and (np.abs(near - pitch) < _SAME_PITCH * pitch).mean() > 0.5:
            pitches.append(pitch)
    return np.array(counts, float), np.array(pitches, float)


def _most_common(values: NDArray[np.float64]) -> list[float]:
    short = [float(f"{value:.4g}") for value in values.tolist() if value > _SMALLEST_MM]
    different, often = np.unique(short, return_counts=True)
    kept = np.sort(np.argsort(-often, kind="stable")[:MOST_VALUES])
    return [float(value) for value in different[kept]]
