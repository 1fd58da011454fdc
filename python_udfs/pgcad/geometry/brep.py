"""From a shape of OpenCASCADE to the graph of its faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from OCP.BRep import BRep_Tool
from OCP.BRepAdaptor import BRepAdaptor_Curve, BRepAdaptor_Surface
from OCP.BRepGProp import BRepGProp
from OCP.collections import (
    IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher,
)
from OCP.GCPnts import GCPnts_AbscissaPoint
from OCP.GeomAbs import GeomAbs_SurfaceType
from OCP.gp import gp_Pnt, gp_Pnt2d, gp_Vec
from OCP.GProp import GProp_GProps
from OCP.IntTools import IntTools_FClass2d
from OCP.TopAbs import TopAbs_Orientation, TopAbs_ShapeEnum, TopAbs_State
from OCP.TopExp import TopExp, TopExp_Explorer
from OCP.TopoDS import TopoDS, TopoDS_Face, TopoDS_Shape

from pgcad.geometry.brep_graph import CURVE_POINTS, GRID, BrepGraph

MAX_GRAPH_FACES = 1500
_INFINITE = 1e6
_TOLERANCE = 1e-6
_SMALLEST_CROSS = 1e-12
_ACROSS = [(index + 0.5) / GRID for index in range(GRID)]
"""Cells' middles: on a border, inside and outside are a matter of rounding."""
_ALONG = np.linspace(0, 1, CURVE_POINTS).tolist()


def brep_graph(shape: TopoDS_Shape) -> BrepGraph:
    """The graph of a shape; of one with more than MAX_GRAPH_FACES faces, that of the largest ones."""
    faces = IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher()
    TopExp.MapShapes_s(shape, TopAbs_ShapeEnum.TopAbs_FACE, faces)
    masses = [_mass(faces.FindKey(index)) for index in range(1, faces.Extent() + 1)]
    areas = np.abs([mass.Mass() for mass in masses])  # below zero where the surface is parametrised inside out
    kept = np.sort(np.argsort(-areas, kind="stable")[:MAX_GRAPH_FACES])
    chosen = [TopoDS.Face(faces.FindKey(int(index) + 1)) for index in kept]
    surfaces = [BRepAdaptor_Surface(face, False) for face in chosen]
    curves = list(_curves(chosen))
    return BrepGraph(
        face_type=np.array([surface.GetType().value for surface in surfaces], np.uint8),
        area_mm2=areas[kept].astype(np.float32),
        radius_mm=np.array([_radius_mm(surface) for surface in surfaces], np.float32),
        centroid_mm=np.array([masses[index].CentreOfMass().Coord() for index in kept], np.float32).reshape(-1, 3),
        grid=_grids(chosen),
        pair=np.array([curve.pair for curve in curves], np.int32).reshape(-1, 2),
        curve_type=np.array([curve.kind for curve in curves], np.uint8),
        length_mm=np.array([curve.length_mm for curve in curves], np.float32),
        curve=np.array([curve.points for curve in curves], np.float32).reshape(-1, CURVE_POINTS, 3),
    )


@dataclass(frozen=True)
class _Curve:
    pair: tuple[int, int]
    kind: int
    length_mm: float
    points: list[tuple[float, float, float]]


def _curves(faces: Sequence[TopoDS_Face]) -> Iterator[_Curve]:
    """The edges that two of the faces share."""
    edges = IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher()
    around: list[list[int]] = []
    for number, face in enumerate(faces):
        explorer = TopExp_Explorer(face, TopAbs_ShapeEnum.TopAbs_EDGE)
        while explorer.More():
            index = edges.Add(explorer.Current())
            if index > len(around):
                around.append([])
            around[index - 1].append(number)
            explorer.Next()
    for index, owners in enumerate(around, 1):
        edge = TopoDS.Edge(edges.FindKey(index))
        if len(owners) != 2 or owners[0] == owners[1] or BRep_Tool.Degenerated_s(edge):
            continue
        curve = BRepAdaptor_Curve(edge)
        low, high = curve.FirstParameter(), curve.LastParameter()
        points = [curve.Value(low + share * (high - low)).Coord() for share in _ALONG]
        yield _Curve((owners[0], owners[1]), curve.GetType().value, GCPnts_AbscissaPoint.Length_s(curve), points)


def _grids(faces: Sequence[TopoDS_Face]) -> NDArray[np.float32]:
    """(n, GRID, GRID, 7) over each face's parameters: points, outward normals, and 1 where the point is on the face."""
    table = np.array([row for face in faces for row in _grid_rows(face)]).reshape(-1, 10)
    signs = [-1.0 if face.Orientation() == TopAbs_Orientation.TopAbs_REVERSED else 1.0 for face in faces]
    normals = np.cross(table[:, 3:6], table[:, 6:9]) * np.repeat(signs, GRID * GRID)[:, None]
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > _SMALLEST_CROSS)
    return np.hstack([table[:, :3], normals, table[:, 9:]]).astype(np.float32).reshape(-1, GRID, GRID, 7)


def _grid_rows(face: TopoDS_Face) -> Iterator[tuple[float, ...]]:
    """Point, derivatives along both parameters, and 1 where the point is not outside the face's edges."""
    surface, within = BRepAdaptor_Surface(face, True), IntTools_FClass2d(face, _TOLERANCE)
    bounds = (surface.FirstUParameter(), surface.LastUParameter(), surface.FirstVParameter(), surface.LastVParameter())
    u_low, u_high, v_low, v_high = (min(max(bound, -_INFINITE), _INFINITE) for bound in bounds)
    point, along_u, along_v = gp_Pnt(), gp_Vec(), gp_Vec()
    for u in (u_low + share * (u_high - u_low) for share in _ACROSS):
        for v in (v_low + share * (v_high - v_low) for share in _ACROSS):
            surface.D1(u, v, point, along_u, along_v)
            outside = within.Perform(gp_Pnt2d(u, v)) == TopAbs_State.TopAbs_OUT
            yield *point.Coord(), *along_u.Coord(), *along_v.Coord(), 0.0 if outside else 1.0


def _radius_mm(surface: BRepAdaptor_Surface) -> float:
    kind = surface.GetType()
    if kind == GeomAbs_SurfaceType.GeomAbs_Cylinder:
        return float(surface.Cylinder().Radius())
    if kind == GeomAbs_SurfaceType.GeomAbs_Sphere:
        return float(surface.Sphere().Radius())
    if kind == GeomAbs_SurfaceType.GeomAbs_Torus:
        return float(surface.Torus().MajorRadius())
    return float(surface.Cone().RefRadius()) if kind == GeomAbs_SurfaceType.GeomAbs_Cone else 0.0


def _mass(face: TopoDS_Shape) -> GProp_GProps:
    mass = GProp_GProps()
    BRepGProp.SurfaceProperties_s(face, mass)
    return mass
