"""B-rep to triangles, finer for small parts and coarser for large ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from OCP.Bnd import Bnd_Box
from OCP.BRepBndLib import BRepBndLib
from OCP.BRepMesh import BRepMesh_IncrementalMesh
from OCP.Quantity import Quantity_TypeOfColor
from OCP.RWMesh import RWMesh_FaceIterator
from OCP.TopoDS import TopoDS_Shape

from pgcad.errors import CadError
from pgcad.geometry.limits import MAX_EXTENT_MM, MAX_TRIANGLES, check_count, check_extent
from pgcad.geometry.step import Component, StepModel
from pgcad.geometry.surface import Surface, check_area, join, weld

RELATIVE_DEFLECTION = 1e-3
"""Of the diagonal of the box: a 40 mm screw deviates by 0.04 mm, a 2 m plate by at most 1 mm."""
MIN_DEFLECTION_MM, MAX_DEFLECTION_MM = 1e-4, 1.0
ANGULAR_DEFLECTION_RAD = 0.5
"""Keeps small holes in large plates round: at least 13 segments a circle."""


def triangulate(shape: TopoDS_Shape, coarseness: float = 1.0) -> bool:
    """Give the faces of a shape their triangles, and say whether the mesher had nothing against any of them;
    `coarseness` multiplies how far triangles may deviate, in length and angle.

    Raises CadError 22023 for a shape that is too large.
    """
    deflection_mm = float(np.clip(_diagonal_mm(shape) * RELATIVE_DEFLECTION, MIN_DEFLECTION_MM, MAX_DEFLECTION_MM))
    angle_rad = min(ANGULAR_DEFLECTION_RAD * coarseness, 1.5)
    mesher = BRepMesh_IncrementalMesh(shape, deflection_mm * coarseness, False, angle_rad, False)
    return mesher.GetStatusFlags() == 0


def tessellate(model: StepModel, coarseness: float = 1.0) -> Surface:
    """`triangulate` and `triangles_of` in one."""
    triangulate(model.shape, coarseness)
    return triangles_of(model)


def triangles_of(model: StepModel) -> Surface:
    """What `triangulate` made of all components, where they are placed, with the colours of their faces.

    Raises CadError 22023 when nothing of the file has a surface (points and curves only).
    """
    faces: list[Surface] = []
    triangles = 0
    for component in model.components:
        for face in _faces(component):
            triangles += len(face.triangles)
            check_count(triangles, MAX_TRIANGLES, "triangles", "Simplify the model or split the assembly.")
            faces.append(face)
    if not faces:
        raise CadError(
            "22023",
            "the STEP file has no surface to show or compare: it holds no faces, only points or curves at most",
            "Export solids or surfaces rather than a sketch or a wireframe.",
        )
    together = join(faces)
    check_extent(together.vertices_mm)
    surface = weld(together.vertices_mm, together.triangles, together.colours)
    check_area(surface)
    return surface


def _diagonal_mm(shape: TopoDS_Shape) -> float:
    box = Bnd_Box()
    BRepBndLib.Add_s(shape, box, False)
    diagonal_mm = 0.0 if box.IsVoid() else box.SquareExtent() ** 0.5
    if diagonal_mm > MAX_EXTENT_MM:
        raise CadError("22023", f"the part is {diagonal_mm:.3g} mm large", "Check the units of the file.")
    return float(diagonal_mm)


def _faces(component: Component) -> Iterator[Surface]:
    """The triangulated faces of a component where it is placed, each with vertices of its own."""
    faces = RWMesh_FaceIterator(component.label, component.location, True, component.style)
    while faces.More():
        if not faces.IsEmptyMesh() and faces.NbTriangles():
            nodes = range(faces.NodeLower(), faces.NodeUpper() + 1)
            elements = range(faces.ElemLower(), faces.ElemUpper() + 1)
            yield Surface(
                np.array([faces.NodeTransformed(node).Coord() for node in nodes]),
                np.array([faces.TriangleOriented(element).Get() for element in elements], np.int32) - nodes.start,
                _colours(faces),
            )
        faces.Next()


def _colours(faces: RWMesh_FaceIterator) -> NDArray[np.uint8] | None:
    """The colour of the face for each of its triangles, if it has one."""
    if not faces.HasFaceColor():
        return None
    shares = faces.FaceColor().GetRGB().Values(Quantity_TypeOfColor.Quantity_TOC_sRGB)
    return np.full((faces.NbTriangles(), 3), [round(255 * share) for share in shares], np.uint8)
