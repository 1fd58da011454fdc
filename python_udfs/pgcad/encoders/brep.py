"""The B-rep tower: a network on the graph of faces, and the numbers that a boundary representation knows exactly.

Faces and curves as in Jayaraman et al. 2021, "UV-Net". Everything that the tower reads is the same however the part is
turned: lengths, areas, angles between neighbours and distances, never coordinates. Networks that read coordinates lose
their sense when a part is turned (Uy et al. 2019; FoV-Net 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from pgcad.encoders.log_grid import WAVES_WIDTH, log_grid, log_waves
from pgcad.geometry.brep_graph import CURVE_TYPES, GRID, SURFACE_TYPES, BrepGraph
from pgcad.geometry.measures import MEASURES, face_lengths, measures

GRID_CHANNELS = 5
FACE_WIDTH = SURFACE_TYPES + 11
CURVE_WIDTH = CURVE_TYPES + 6
_LOW, _HIGH, _BINS = 0.1, 1000.0, 120
_BAG_WIDTH = _BINS + WAVES_WIDTH
MEASURE_WIDTH = len(MEASURES) * _BAG_WIDTH
_SMALLEST_MM = 1e-3
_FARTHEST = 100.0
_ROUNDS = 3


@dataclass(frozen=True)
class BrepFeatures:
    """n graphs of f faces and e directed curves in all.

    faces (f, FACE_WIDTH), grids (f, GRID_CHANNELS, g, g), owner (f,): the graph of a face, area (f,): its share of the
    graph's area; pairs (e, 2): from and to, curves (e, CURVE_WIDTH); measures (n, MEASURE_WIDTH).
    """

    faces: Tensor
    grids: Tensor
    owner: Tensor
    area: Tensor
    pairs: Tensor
    curves: Tensor
    measures: Tensor

    def to(self, device: torch.device) -> BrepFeatures:
        return BrepFeatures(*(tensor.to(device) for tensor in vars(self).values()))


def brep_features(graphs: Sequence[BrepGraph]) -> BrepFeatures:
    """Features of n graphs, one after the other."""
    return together([_features(graph) for graph in graphs])


def together(some: Sequence[BrepFeatures]) -> BrepFeatures:
    """Features of several graphs as those of one batch."""
    first = np.cumsum([0, *(len(one.faces) for one in some)])
    return BrepFeatures(
        torch.cat([one.faces for one in some]),
        torch.cat([one.grids for one in some]),
        torch.cat([one.owner + number for number, one in enumerate(some)]),
        torch.cat([one.area for one in some]),
        torch.cat([one.pairs + int(start) for one, start in zip(some, first, strict=False)]),
        torch.cat([one.curves for one in some]),
        torch.cat([one.measures for one in some]),
    )


def _bag(values: NDArray[np.float64]) -> Tensor:
    """(_BAG_WIDTH,): where the values lie on a logarithmic scale; what occurs often counts a little more."""
    if not len(values):
        return torch.zeros(_BAG_WIDTH)
    different, often = np.unique(np.round(np.log(np.maximum(values, _SMALLEST_MM)), 3), return_counts=True)
    weight = torch.from_numpy(1 + np.log(often)).float()
    lengths = torch.from_numpy(np.exp(different)).float()
    places = torch.cat([log_grid(lengths, _LOW, _HIGH, _BINS), log_waves(lengths)], 1)
    return (places * weight.unsqueeze(1)).sum(0) / weight.norm()


def _features(graph: BrepGraph) -> BrepFeatures:
    if not len(graph.face_type):
        return BrepFeatures(
            torch.zeros(0, FACE_WIDTH), torch.zeros(0, GRID_CHANNELS, GRID, GRID), torch.zeros(0, dtype=torch.long),
            torch.zeros(0), torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, CURVE_WIDTH),
            torch.zeros(1, MEASURE_WIDTH),
        )  # fmt: skip
    area_mm2 = np.abs(graph.area_mm2)
    share = area_mm2 / max(float(area_mm2.sum()), _SMALLEST_MM**2)
    centre = share @ graph.centroid_mm
    radius = max(float(np.sqrt(share @ ((graph.centroid_mm - centre) ** 2).sum(1))), _SMALLEST_MM)
    normals = _mean_normals(graph)
    values = measures(graph)
    return BrepFeatures(
        faces=_floats(_face_attributes(graph, share, centre, radius, normals)),
        grids=_floats(_grid_channels(graph, centre, radius, normals)),
        owner=torch.zeros(len(share), dtype=torch.long),
        area=_floats(share),
        pairs=torch.from_numpy(np.vstack([graph.pair, graph.pair[:, ::-1]]).astype(np.int64)),
        curves=_floats(_curve_attributes(graph, radius, normals)),
        measures=torch.cat([_bag(values[name]) for name in MEASURES]).unsqueeze(0),
    )


def _mean_normals(graph: BrepGraph) -> NDArray[np.float64]:
    sums = graph.grid[..., 3:6].reshape(len(graph.grid), -1, 3).sum(1).astype(float)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > _SMALLEST_MM)


def _face_attributes(
    graph: BrepGraph,
    share: NDArray[np.floating],
    centre: NDArray[np.floating],
    radius: float,
    normals: NDArray[np.float64],
) -> NDArray[np.float64]:
    out = graph.centroid_mm - centre
    return np.column_stack([
        np.eye(SURFACE_TYPES)[np.minimum(graph.face_type, SURFACE_TYPES - 1)],
        _log(graph.area_mm2) / 2,
        _log(graph.radius_mm),
        graph.radius_mm > 0,
        np.sqrt(share),
        np.linalg.norm(out, axis=1) / radius,
        (out * normals).sum(1) / radius,
        _log(face_lengths(graph)),
        graph.grid[..., 6].mean((1, 2)),
        np.full(len(share), _log(np.array(radius))),
    ])  # fmt: skip


def _grid_channels(
    graph: BrepGraph, centre: NDArray[np.floating], radius: float, normals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(f, GRID_CHANNELS, g, g): distances to the centres of part and face, how the surface is inclined to the way there
    and to its mean, and whether the point is on the face.
    """
    points, at, inside = graph.grid[..., :3], graph.grid[..., 3:6], graph.grid[..., 6]
    out = (points - centre) / radius
    from_face = (points - graph.centroid_mm[:, None, None]) / radius
    channels = (
        np.linalg.norm(out, axis=-1),
        np.linalg.norm(from_face, axis=-1),
        (out * at).sum(-1),
        (at * normals[:, None, None]).sum(-1),
        inside,
    )
    return np.stack(channels, 1)


def _curve_attributes(graph: BrepGraph, radius: float, normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2 m, CURVE_WIDTH): each curve there and back."""
    first, second = graph.pair[:, 0], graph.pair[:, 1]
    chord = np.linalg.norm(graph.curve[:, -1] - graph.curve[:, 0], axis=1)
    across = (graph.centroid_mm[second] - graph.centroid_mm[first]) / radius
    both = np.column_stack([
        np.eye(CURVE_TYPES)[np.minimum(graph.curve_type, CURVE_TYPES - 1)],
        _log(graph.length_mm),
        chord / np.maximum(graph.length_mm, _SMALLEST_MM),
        (normals[first] * normals[second]).sum(1),
        np.linalg.norm(across, axis=1),
    ])  # fmt: skip
    # Below zero for both where the faces meet in a convex edge.
    there, back = (across * normals[first]).sum(1), (-across * normals[second]).sum(1)
    return np.vstack([np.column_stack([both, there, back]), np.column_stack([both, back, there])])


def _log(values: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log10(np.maximum(np.asarray(values, float), _SMALLEST_MM))


def _floats(values: NDArray[np.floating]) -> Tensor:
    """Without what lies far out: a surface without bounds has points a kilometre away."""
    return torch.from_numpy(np.asarray(values, np.float32).clip(-_FARTHEST, _FARTHEST))


class _Round(nn.Module):
    """One exchange between neighbours: the largest of what each says, in the light of the curve between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.neighbour = nn.Linear(width, width)
        self.curve = nn.Linear(CURVE_WIDTH, width)
        self.own = nn.Linear(width, width)
        self.heard = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, faces: Tensor, pairs: Tensor, curves: Tensor) -> Tensor:
        said = gelu(self.neighbour(faces)[pairs[:, 0]] + self.curve(curves))
        heard = _largest(said, pairs[:, 1], len(faces))
        return faces + self.norm(gelu(self.own(faces) + self.heard(heard)))


class BrepTower(nn.Module):
    """BrepFeatures of n graphs → (n, dim), unit length."""

    def __init__(self, dim: int = 512, width: int = 128, hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.grid = nn.Sequential(
            nn.Conv2d(GRID_CHANNELS, 16, 3, padding=1), nn.GELU(), nn.Conv2d(16, 32, 3, padding=1), nn.GELU()
        )
        self.face = nn.Sequential(nn.Linear(FACE_WIDTH + 32, width), nn.GELU(), nn.Linear(width, width))
        self.rounds = nn.ModuleList(_Round(width) for _ in range(_ROUNDS))
        self.project = nn.Sequential(
            nn.Linear(3 * width + MEASURE_WIDTH, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )
        self.numbers = nn.Linear(MEASURE_WIDTH, dim, bias=False)

    def forward(self, features: BrepFeatures) -> Tensor:
        return self.head(self.pooled(features), features.measures)

    def pooled(self, features: BrepFeatures) -> Tensor:
        """What the graph network sees of each part: (n, 3 width)."""
        faces = self.face(torch.cat([features.faces, self.grid(features.grids).mean((2, 3))], 1))
        for exchange in self.rounds:
            faces = exchange(faces, features.pairs, features.curves)
        return _pooled(faces, features)

    def head(self, pooled: Tensor, measures: Tensor) -> Tensor:
        """(n, dim), unit length, from what the graph network saw, and the measures."""
        return normalize(self.project(torch.cat([pooled, measures], 1)) + self.numbers(measures), dim=1)


def _largest(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """(groups, c): the largest of the values (v, c) in each group, 0 for an empty one."""
    where = group.unsqueeze(1).expand_as(values)
    return values.new_zeros(groups, values.shape[1]).scatter_reduce(0, where, values, "amax", include_self=False)


def _pooled(faces: Tensor, features: BrepFeatures) -> Tensor:
    """(n, 3 width): the largest, the mean and the mean by area of each graph's faces."""
    n, width = len(features.measures), faces.shape[1]
    empty = faces.new_zeros(n, width)
    count = faces.new_zeros(n).index_add(0, features.owner, torch.ones_like(features.area)).clamp_min(1)
    return torch.cat([
        _largest(faces, features.owner, n),
        empty.index_add(0, features.owner, faces) / count.unsqueeze(1),
        empty.index_add(0, features.owner, faces * features.area.unsqueeze(1)),
    ], 1)  # fmt: skip
