"""Grids of points over the parameters of faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from OCP.BRepAdaptor import BRepAdaptor_Surface
from OCP.GeomAbs import GeomAbs_SurfaceType
from OCP.gp import gp_Pnt, gp_Pnt2d, gp_Vec
from OCP.IntTools import IntTools_FClass2d
from OCP.TopAbs import TopAbs_Orientation, TopAbs_State
from OCP.TopoDS import TopoDS_Face

from pgcad.geometry.brep_graph import GRID
from pgcad.geometry.faces import Faces

_INFINITE = 1e6
_TOLERANCE = 1e-6
_SAME_AREA = 1e-6
_SMALLEST_CROSS = 1e-12
_ACROSS = (np.arange(GRID) + 0.5) / GRID
"""Cells' middles: on a border, inside and outside are a matter of rounding."""


@dataclass(frozen=True)
class _Bounds:
    """The parameters that a face lies within."""

    u_low: float
    u_high: float
    v_low: float
    v_high: float

    @property
    def area(self) -> float:
        return (self.u_high - self.u_low) * (self.v_high - self.v_low)

    def middles(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The grid's parameters u and v."""
        return self.u_low + _ACROSS * (self.u_high - self.u_low), self.v_low + _ACROSS * (self.v_high - self.v_low)


def face_grids(faces: Faces, surfaces: Sequence[BRepAdaptor_Surface]) -> NDArray[np.float32]:
    """(n, GRID, GRID, 7) over each face's parameters: points, outward normals, and 1 where the point is on the face.

    `surfaces` are those of the faces, within their bounds.
    """
    table = np.empty((len(faces.faces), GRID * GRID, 10))
    whole: dict[int, tuple[float, ...]] = {}
    for number, (face, surface, area_mm2) in enumerate(
        zip(faces.faces, surfaces, faces.areas_mm2.tolist(), strict=True)
    ):
        bounds = _bounds(surface)
        simple = _simple(surface, bounds, area_mm2)
        if simple:
            whole[number] = simple
        else:
            table[number] = list(_rows(face, surface, bounds))
    if whole:
        table[list(whole)] = _whole_rows(np.array(list(whole.values())))
    signs = [-1.0 if face.Orientation() == TopAbs_Orientation.TopAbs_REVERSED else 1.0 for face in faces.faces]
    normals = np.cross(table[..., 3:6], table[..., 6:9]) * np.array(signs)[:, None, None]
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > _SMALLEST_CROSS)
    return np.dstack([table[..., :3], normals, table[..., 9:]]).astype(np.float32).reshape(-1, GRID, GRID, 7)


def _bounds(surface: BRepAdaptor_Surface) -> _Bounds:
    ends = (surface.FirstUParameter(), surface.LastUParameter(), surface.FirstVParameter(), surface.LastVParameter())
    return _Bounds(*(min(max(end, -_INFINITE), _INFINITE) for end in ends))


def _simple(surface: BRepAdaptor_Surface, bounds: _Bounds, area_mm2: float) -> tuple[float, ...] | None:
    """Of a plane or cylinder that fills its bounds, as most faces of most parts do, what tells all of its points:
    bounds, radius (0 for a plane), origin and axes. None for other faces.
    """
    kind = surface.GetType()
    if kind == GeomAbs_SurfaceType.GeomAbs_Plane:
        radius, position = 0.0, surface.Plane().Position()
    elif kind == GeomAbs_SurfaceType.GeomAbs_Cylinder:
        cylinder = surface.Cylinder()
        radius, position = cylinder.Radius(), cylinder.Position()
    else:
        return None
    if abs((radius or 1.0) * bounds.area - area_mm2) > _SAME_AREA * area_mm2:
        return None
    origin, x, y, z = position.Location(), position.XDirection(), position.YDirection(), position.Direction()
    return (*vars(bounds).values(), radius, *origin.Coord(), *x.Coord(), *y.Coord(), *z.Coord())


def _whole_rows(simple: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, GRID², 10) as `_rows`, of faces as `_simple` tells them."""
    u_low, u_high, v_low, v_high, radius = (simple[:, column, None] for column in range(5))
    u = np.repeat(u_low + _ACROSS * (u_high - u_low), GRID, axis=1)[..., None]
    v = np.tile(v_low + _ACROSS * (v_high - v_low), GRID)[..., None]
    origin, x, y, z = (simple[:, None, start : start + 3] for start in (5, 8, 11, 14))
    radius = radius[..., None]
    plane = radius == 0
    points = origin + np.where(plane, u * x + v * y, radius * (np.cos(u) * x + np.sin(u) * y) + v * z)
    along_u = np.where(plane, x, radius * (np.cos(u) * y - np.sin(u) * x))
    along_v = np.broadcast_to(np.where(plane, y, z), points.shape)
    return np.concatenate([points, along_u, along_v, np.ones_like(u)], axis=2)


def _rows(face: TopoDS_Face, surface: BRepAdaptor_Surface, bounds: _Bounds) -> Iterator[tuple[float, ...]]:
    """Point, derivatives along both parameters, and 1 where the point is not outside the face's edges."""
    within = IntTools_FClass2d(face, _TOLERANCE)
    along, across = bounds.middles()
    point, along_u, along_v = gp_Pnt(), gp_Vec(), gp_Vec()
    for u in along.tolist():
        for v in across.tolist():
            surface.D1(u, v, point, along_u, along_v)
            outside = within.Perform(gp_Pnt2d(u, v)) == TopAbs_State.TopAbs_OUT
            yield *point.Coord(), *along_u.Coord(), *along_v.Coord(), 0.0 if outside else 1.0
