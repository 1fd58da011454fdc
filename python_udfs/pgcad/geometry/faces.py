"""The faces of a shape of OpenCASCADE with their areas and centres, integrated once for everything that needs them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from OCP.BRepGProp import BRepGProp
from OCP.collections import IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher
from OCP.GProp import GProp_GProps
from OCP.TopAbs import TopAbs_ShapeEnum
from OCP.TopExp import TopExp
from OCP.TopoDS import TopoDS, TopoDS_Face, TopoDS_Shape


@dataclass(frozen=True)
class Faces:
    """n different faces, their areas (n,) in mm² and centres (n, 3) in mm."""

    faces: list[TopoDS_Face]
    areas_mm2: NDArray[np.float64]
    centroids_mm: NDArray[np.float64]

    def largest(self, count: int) -> Faces:
        """At most `count` of them, in their order."""
        kept = np.sort(np.argsort(-self.areas_mm2, kind="stable")[:count])
        return Faces([self.faces[index] for index in kept], self.areas_mm2[kept], self.centroids_mm[kept])


def faces_of(shape: TopoDS_Shape) -> Faces:
    """The faces of a shape, by integration over their exact surfaces (OpenCASCADE's BRepGProp)."""
    found = IndexedMap_TopoDS_Shape_TopTools_ShapeMapHasher()
    TopExp.MapShapes_s(shape, TopAbs_ShapeEnum.TopAbs_FACE, found)
    faces = [TopoDS.Face(found.FindKey(index)) for index in range(1, found.Extent() + 1)]
    masses = [_mass(face) for face in faces]
    # Below zero where the surface is parametrised inside out.
    areas_mm2 = np.abs([mass.Mass() for mass in masses])
    return Faces(faces, areas_mm2, np.array([mass.CentreOfMass().Coord() for mass in masses]).reshape(-1, 3))


def _mass(face: TopoDS_Face) -> GProp_GProps:
    mass = GProp_GProps()
    BRepGProp.SurfaceProperties_s(face, mass)
    return mass
