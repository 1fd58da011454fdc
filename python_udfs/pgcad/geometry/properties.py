"""Mass properties, box and make-up of a shape: exact for STEP, of the triangles for meshes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from OCP.Bnd import Bnd_Box
from OCP.BRep import BRep_Tool
from OCP.BRepAdaptor import BRepAdaptor_Curve, BRepAdaptor_Surface
from OCP.BRepBndLib import BRepBndLib
from OCP.BRepGProp import BRepGProp
from OCP.collections import IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher
from OCP.gp import gp_Pnt
from OCP.GProp import GProp_GProps
from OCP.TopAbs import TopAbs_ShapeEnum
from OCP.TopExp import TopExp
from OCP.TopoDS import TopoDS, TopoDS_Shape

from pgcad.geometry.faces import Faces
from pgcad.geometry.surface import Surface


@dataclass(frozen=True)
class Properties:
    """Lengths in mm. Volume and moments (about the centre of mass, unit density, mm⁵, ascending) are None where the
    shape is not closed; the area is None for points, counts where the format has no B-rep."""

    closed: bool
    volume_mm3: float | None
    area_mm2: float | None
    center_of_mass_mm: tuple[float, ...]
    principal_moments_mm5: tuple[float, ...] | None
    box_min_mm: tuple[float, ...]
    box_max_mm: tuple[float, ...]
    face_count: int | None = None
    edge_count: int | None = None
    faces_by_type: dict[str, int] | None = None
    edges_by_type: dict[str, int] | None = None
    solid_count: int | None = None

    @property
    def size_mm(self) -> tuple[float, ...]:
        """Extents of the box, ascending: the same whichever way the part lies."""
        return tuple(sorted(high - low for low, high in zip(self.box_min_mm, self.box_max_mm, strict=True)))


def is_closed(shape: TopoDS_Shape) -> bool:
    """Whether the faces of a B-rep are the borders of solids, and nothing else."""
    solids = _subshapes(shape, TopAbs_ShapeEnum.TopAbs_SOLID)
    shells = _subshapes(shape, TopAbs_ShapeEnum.TopAbs_SHELL)
    return bool(solids) and all(BRep_Tool.IsClosed_s(shell) for shell in shells) and not _loose_faces(shape, solids)


def shape_properties(shape: TopoDS_Shape, faces: Faces) -> Properties:
    """Of a B-rep, by integration over its exact surfaces (OpenCASCADE's BRepGProp)."""
    edges = _subshapes(shape, TopAbs_ShapeEnum.TopAbs_EDGE)
    closed = is_closed(shape)
    volume = GProp_GProps()
    if closed:
        BRepGProp.VolumeProperties_s(shape, volume)
    area_mm2 = float(faces.areas_mm2.sum())
    by_area = faces.areas_mm2 @ faces.centroids_mm / (area_mm2 or 1.0)
    box = Bnd_Box()
    BRepBndLib.AddOptimal_s(shape, box, False, False)
    box.SetGap(0.0)
    low, high = box.CornerMin(), box.CornerMax()
    return Properties(
        closed=closed,
        volume_mm3=abs(volume.Mass()) if closed else None,
        area_mm2=area_mm2,
        center_of_mass_mm=volume.CentreOfMass().Coord() if closed else _floats(by_area),
        principal_moments_mm5=_moments(volume) if closed else None,
        box_min_mm=_settled(low),
        box_max_mm=_settled(high),
        face_count=len(faces.faces),
        edge_count=len(edges),
        faces_by_type=_by_type(BRepAdaptor_Surface(face, False).GetType().name for face in faces.faces),
        edges_by_type=_by_type(
            BRepAdaptor_Curve(TopoDS.Edge(edge)).GetType().name
            for edge in edges
            if not BRep_Tool.Degenerated_s(TopoDS.Edge(edge))
        ),
        solid_count=len(_subshapes(shape, TopAbs_ShapeEnum.TopAbs_SOLID)),
    )


def surface_properties(surface: Surface) -> Properties:
    """Of a triangulated surface whose triangles face outward (Mirtich's integrals, in trimesh)."""
    mesh = trimesh.Trimesh(surface.vertices_mm, surface.triangles, process=False, validate=False)
    closed = bool(mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0)
    centre = mesh.center_mass if closed else mesh.centroid
    low, high = surface.vertices_mm.min(axis=0), surface.vertices_mm.max(axis=0)
    return Properties(
        closed=closed,
        volume_mm3=float(mesh.volume) if closed else None,
        area_mm2=float(surface.areas_mm2.sum()),
        center_of_mass_mm=_floats(centre),
        principal_moments_mm5=_floats(np.sort(np.abs(mesh.principal_inertia_components))) if closed else None,
        box_min_mm=_floats(low),
        box_max_mm=_floats(high),
    )


def cloud_properties(points_mm: NDArray[np.floating]) -> Properties:
    """Of a cloud of points: it has a place and a size, and no surface."""
    return Properties(
        closed=False,
        volume_mm3=None,
        area_mm2=None,
        center_of_mass_mm=_floats(points_mm.mean(axis=0)),
        principal_moments_mm5=None,
        box_min_mm=_floats(points_mm.min(axis=0)),
        box_max_mm=_floats(points_mm.max(axis=0)),
    )


def _subshapes(shape: TopoDS_Shape, kind: TopAbs_ShapeEnum) -> list[TopoDS_Shape]:
    found = IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher()
    TopExp.MapShapes_s(shape, kind, found)
    return [found.FindKey(i) for i in range(1, found.Extent() + 1)]


def _loose_faces(shape: TopoDS_Shape, solids: list[TopoDS_Shape]) -> bool:
    in_solids = IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher()
    for solid in solids:
        TopExp.MapShapes_s(solid, TopAbs_ShapeEnum.TopAbs_FACE, in_solids)
    return in_solids.Extent() < len(_subshapes(shape, TopAbs_ShapeEnum.TopAbs_FACE))


def _by_type(kinds: Iterable[str]) -> dict[str, int]:
    """Counts under plain names (`plane`, `cylinder`, `line`, `bspline` …), most frequent first."""
    names = (kind.removeprefix("GeomAbs_").removeprefix("SurfaceOf").removesuffix("Surface") for kind in kinds)
    names = (name.removesuffix("Curve").lower() for name in names)
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _moments(volume: GProp_GProps) -> tuple[float, ...]:
    inertia = volume.MatrixOfInertia()
    matrix = np.array([[inertia.Value(row, column) for column in (1, 2, 3)] for row in (1, 2, 3)])
    return _floats(np.sort(np.abs(np.linalg.eigvalsh(matrix))))


def _settled(corner: gp_Pnt) -> tuple[float, ...]:
    """Without the 1e-7 mm that OpenCASCADE adds around curved faces."""
    return tuple(round(value, 6) + 0.0 for value in (corner.X(), corner.Y(), corner.Z()))


def _floats(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
