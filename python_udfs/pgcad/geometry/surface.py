"""A triangulated surface: what every file format is turned into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import trimesh
from numpy.typing import NDArray

from pgcad.errors import CadError

NO_COLOUR = (184, 184, 184)


@dataclass(frozen=True)
class Surface:
    """Triangles in millimetres; corners that coincide are one vertex, so that neighbours can be found.

    `vertices_mm` float64 (n, 3); `triangles` int32 (m, 3), counter-clockwise seen from outside;
    `colours` uint8 (m, 3), or None where the file has none.
    """

    vertices_mm: NDArray[np.float64]
    triangles: NDArray[np.int32]
    colours: NDArray[np.uint8] | None = None

    @cached_property
    def _crosses(self) -> NDArray[np.float64]:
        a, b, c = (self.vertices_mm[self.triangles[:, i]] for i in range(3))
        return np.cross(b - a, c - a)

    @cached_property
    def areas_mm2(self) -> NDArray[np.float64]:
        """Area of each triangle, (m,)."""
        areas: NDArray[np.float64] = np.linalg.norm(self._crosses, axis=1) / 2
        return areas

    @cached_property
    def normals(self) -> NDArray[np.float64]:
        """Unit normal of each triangle, (m, 3); zero for one without area."""
        lengths = 2 * self.areas_mm2[:, None]
        return np.divide(self._crosses, lengths, out=np.zeros_like(self._crosses), where=lengths > 0)

    @property
    def signed_volume_mm3(self) -> float:
        """What a closed surface encloses, negative when it is inside out."""
        corners = self.vertices_mm[self.triangles[:, 0]]
        return float(np.einsum("ti,ti->", corners - corners.mean(axis=0), self._crosses)) / 6


def weld(
    vertices_mm: NDArray[np.float64], triangles: NDArray[np.int32], colours: NDArray[np.uint8] | None = None
) -> Surface:
    """Join vertices closer than a millionth of the size, drop triangles that this or the file makes degenerate, and
    the vertices that no triangle is left to use: they belong to no face, so they must not count for size or pictures.
    """
    corners, triangles = _used(np.asarray(vertices_mm, float), np.asarray(triangles, np.int32))
    extent = float(np.ptp(corners, axis=0).max()) if len(corners) else 0.0
    grid = np.round((corners - corners.min(axis=0, initial=0.0)) / max(extent * 1e-6, 1e-12)).astype(np.int64)
    key = (grid[:, 0] * 2_097_143 + grid[:, 1]) * 2_097_143 + grid[:, 2]
    _, first, merged = np.unique(key, return_index=True, return_inverse=True)
    welded = merged.reshape(-1)[triangles].astype(np.int32)
    a, b, c = welded.T
    keep = (a != b) & (b != c) & (c != a)
    return Surface(*_used(corners[first], welded[keep]), None if colours is None else colours[keep])


def _used(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The vertices that triangles use, in their order, and the triangles renumbered to match."""
    used = np.zeros(len(vertices), bool)
    used[triangles] = True
    if used.all():
        return vertices, triangles
    return vertices[used], (np.cumsum(used) - 1)[triangles].astype(np.int32)


def turned_outward(surface: Surface) -> Surface:
    """The same surface; when it is closed and inside out, with its triangles turned over."""
    if surface.signed_volume_mm3 >= 0:
        return surface
    mesh = trimesh.Trimesh(surface.vertices_mm, surface.triangles, process=False, validate=False)
    if not (mesh.is_watertight and mesh.is_winding_consistent):
        return surface
    return replace(surface, triangles=np.ascontiguousarray(surface.triangles[:, ::-1]))


def check_area(surface: Surface) -> None:
    """Raise CadError 22023 when no triangle has an area."""
    if not (surface.areas_mm2 > 0).any():
        raise CadError(
            "22023",
            "the part has only degenerate faces: none has an area",
            "Check the part in the program that made it.",
        )


def join(surfaces: Sequence[Surface]) -> Surface:
    """Several surfaces as one, each keeping its own vertices."""
    if len(surfaces) == 1:
        return surfaces[0]
    offsets = np.cumsum([0] + [len(surface.vertices_mm) for surface in surfaces])
    coloured = any(surface.colours is not None for surface in surfaces)
    return Surface(
        np.concatenate([surface.vertices_mm for surface in surfaces]),
        np.concatenate([surface.triangles + offset for surface, offset in zip(surfaces, offsets, strict=False)]).astype(
            np.int32
        ),
        np.concatenate([_colours(surface) for surface in surfaces]) if coloured else None,
    )


def _colours(surface: Surface) -> NDArray[np.uint8]:
    if surface.colours is not None:
        return surface.colours
    return np.tile(np.array(NO_COLOUR, np.uint8), (len(surface.triangles), 1))


def dominant_colours(surface: Surface, count: int = 8) -> list[str]:
    """The colours (`#rrggbb`) that cover most of the surface, largest share first."""
    if surface.colours is None:
        return []
    colours, index = np.unique(surface.colours, axis=0, return_inverse=True)
    shares = np.bincount(index.reshape(-1), weights=surface.areas_mm2)
    return [f"#{bytes(colours[i]).hex()}" for i in np.argsort(-shares, kind="stable")[:count]]
