"""B-rep to triangles, finer for small parts and coarser for large ones."""

from __future__ import annotations

import numpy as np
from OCP.Bnd import Bnd_Box
from OCP.BRepBndLib import BRepBndLib
from OCP.BRepMesh import BRepMesh_IncrementalMesh
from OCP.Quantity import Quantity_TypeOfColor
from OCP.RWMesh import RWMesh_FaceIterator
from OCP.TopoDS import TopoDS_Shape

from pgcad.errors import CadError
from pgcad.geometry.limits import MAX_EXTENT_MM, MAX_TRIANGLES, check_count, check_extent
from pgcad.geometry.step import Component, StepModel
from pgcad.geometry.surface import NO_COLOUR, Surface, check_area, weld

RELATIVE_DEFLECTION = 1e-3
"""Of the diagonal of the box: a 40 mm screw deviates by 0.04 mm, a 2 m plate by at most 1 mm."""
MIN_DEFLECTION_MM, MAX_DEFLECTION_MM = 1e-4, 1.0
ANGULAR_DEFLECTION_RAD = 0.5
"""Keeps small holes in large plates round: at least 13 segments a circle."""


def tessellate(model: StepModel) -> Surface:
    """Triangles of all components where they are placed, with the colours of their faces.

    Raises CadError 22023 when nothing of the file has a surface (points and curves only).
    """
    deflection_mm = float(
        np.clip(_diagonal_mm(model.shape) * RELATIVE_DEFLECTION, MIN_DEFLECTION_MM, MAX_DEFLECTION_MM)
    )
    BRepMesh_IncrementalMesh(model.shape, deflection_mm, False, ANGULAR_DEFLECTION_RAD, False)
    vertices: list[tuple[float, float, float]] = []
    triangles: list[tuple[int, int, int]] = []
    colours: list[tuple[int, int, int]] = []
    for component in model.components:
        _collect(component, vertices, triangles, colours)
        check_count(len(triangles), MAX_TRIANGLES, "triangles", "Simplify the model or split the assembly.")
    if not triangles:
        raise CadError(
            "22023",
            "the STEP file has no surface to show or compare: it holds no faces, only points or curves at most",
            "Export solids or surfaces rather than a sketch or a wireframe.",
        )
    corners = np.array(vertices)
    check_extent(corners)
    surface = weld(corners, np.array(triangles, np.int32), np.array(colours, np.uint8))
    check_area(surface)
    return surface


def _diagonal_mm(shape: TopoDS_Shape) -> float:
    box = Bnd_Box()
    BRepBndLib.Add_s(shape, box, False)
    diagonal_mm = 0.0 if box.IsVoid() else box.SquareExtent() ** 0.5
    if diagonal_mm > MAX_EXTENT_MM:
        raise CadError("22023", f"the part is {diagonal_mm:.3g} mm large", "Check the units of the file.")
    return float(diagonal_mm)


def _collect(
    component: Component,
    vertices: list[tuple[float, float, float]],
    triangles: list[tuple[int, int, int]],
    colours: list[tuple[int, int, int]],
) -> None:
    faces = RWMesh_FaceIterator(component.label, component.location, True, component.style)
    while faces.More():
        if not faces.IsEmptyMesh():
            offset = len(vertices) - faces.NodeLower()
            for node in range(faces.NodeLower(), faces.NodeUpper() + 1):
                point = faces.NodeTransformed(node)
                vertices.append((point.X(), point.Y(), point.Z()))
            for element in range(faces.ElemLower(), faces.ElemUpper() + 1):
                a, b, c = faces.TriangleOriented(element).Get()
                triangles.append((a + offset, b + offset, c + offset))
            colours.extend([_colour(faces)] * faces.NbTriangles())
        faces.Next()


def _colour(faces: RWMesh_FaceIterator) -> tuple[int, int, int]:
    if not faces.HasFaceColor():
        return NO_COLOUR
    red, green, blue = faces.FaceColor().GetRGB().Values(Quantity_TypeOfColor.Quantity_TOC_sRGB)
    return round(red * 255), round(green * 255), round(blue * 255)
