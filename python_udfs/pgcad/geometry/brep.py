"""From a shape of OpenCASCADE to the graph of its faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from OCP.BRep import BRep_Tool
from OCP.BRepAdaptor import BRepAdaptor_Curve, BRepAdaptor_Surface
from OCP.collections import (
    IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher,
)
from OCP.GCPnts import GCPnts_AbscissaPoint
from OCP.GeomAbs import GeomAbs_CurveType, GeomAbs_SurfaceType
from OCP.TopAbs import TopAbs_ShapeEnum
from OCP.TopExp import TopExp_Explorer
from OCP.TopoDS import TopoDS, TopoDS_Face

from pgcad.geometry.brep_graph import CURVE_POINTS, BrepGraph
from pgcad.geometry.brep_grid import face_grids
from pgcad.geometry.faces import Faces

MAX_GRAPH_FACES = 1500
_ALONG = np.linspace(0, 1, CURVE_POINTS)


def brep_graph(faces: Faces) -> BrepGraph:
    """The graph of a shape's faces; of more than MAX_GRAPH_FACES, that of the largest ones."""
    faces = faces.largest(MAX_GRAPH_FACES)
    surfaces = [BRepAdaptor_Surface(face, True) for face in faces.faces]
    curves = list(_curves(faces.faces))
    return BrepGraph(
        face_type=np.array([surface.GetType().value for surface in surfaces], np.uint8),
        area_mm2=faces.areas_mm2.astype(np.float32),
        radius_mm=np.array([_radius_mm(surface) for surface in surfaces], np.float32),
        centroid_mm=faces.centroids_mm.astype(np.float32),
        grid=face_grids(faces, surfaces),
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
    points: NDArray[np.float64]


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
        kind = curve.GetType()
        low, high = curve.FirstParameter(), curve.LastParameter()
        if kind == GeomAbs_CurveType.GeomAbs_Line:  # most are, and the kernel need not integrate them
            ends = np.array([curve.Value(low).Coord(), curve.Value(high).Coord()])
            points, length_mm = (ends[0] + _ALONG[:, None] * (ends[1] - ends[0])), high - low
        else:
            points = np.array([curve.Value(low + share * (high - low)).Coord() for share in _ALONG.tolist()])
            length_mm = GCPnts_AbscissaPoint.Length_s(curve)
        yield _Curve((owners[0], owners[1]), kind.value, length_mm, points)


def _radius_mm(surface: BRepAdaptor_Surface) -> float:
    kind = surface.GetType()
    if kind == GeomAbs_SurfaceType.GeomAbs_Cylinder:
        return float(surface.Cylinder().Radius())
    if kind == GeomAbs_SurfaceType.GeomAbs_Sphere:
        return float(surface.Sphere().Radius())
    if kind == GeomAbs_SurfaceType.GeomAbs_Torus:
        return float(surface.Torus().MajorRadius())
    return float(surface.Cone().RefRadius()) if kind == GeomAbs_SurfaceType.GeomAbs_Cone else 0.0
