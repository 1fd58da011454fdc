"""STEP files through OpenCASCADE: shape, units, product names, colours and assembly structure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from OCP.collections import (
    DataMap_TCollection_AsciiString_TCollection_AsciiString,
    Sequence_TCollection_AsciiString,
    Sequence_TDF_Label,
)
from OCP.IFSelect import IFSelect_ReturnStatus
from OCP.Interface import Interface_Static
from OCP.Message import Message
from OCP.Standard import Standard_OutOfMemory
from OCP.STEPCAFControl import STEPCAFControl_Reader
from OCP.STEPControl import STEPControl_Controller
from OCP.TCollection import TCollection_AsciiString, TCollection_ExtendedString
from OCP.TDataStd import TDataStd_Name
from OCP.TDF import TDF_Label
from OCP.TDocStd import TDocStd_Document
from OCP.TopAbs import TopAbs_ShapeEnum
from OCP.TopLoc import TopLoc_Location
from OCP.TopoDS import TopoDS_Iterator, TopoDS_Shape, TopoDS_TShape
from OCP.XCAFDoc import XCAFDoc_DocumentTool
from OCP.XCAFPrs import (
    XCAFPrs_DocumentExplorer,
    XCAFPrs_DocumentExplorerFlags_None,
    XCAFPrs_DocumentNode,
    XCAFPrs_Style,
)

from pgcad.errors import CadError
from pgcad.geometry.limits import MAX_COMPONENTS, MAX_FACES, check_count
from pgcad.geometry.text import clean_name

_UNITS = {
    "millimetre": "mm",
    "millimeter": "mm",
    "centimetre": "cm",
    "centimeter": "cm",
    "metre": "m",
    "meter": "m",
    "inch": "inch",
    "foot": "ft",
}
_IDENTITY = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
# Of lower-case text. Each begins with letters to look for: five times as quick as looking back would be at once.
_NOT_FINITE = (
    re.compile(rb"nan(?<=[(,+\-\s]nan)(?:\(\w*\))?\.?\s*[,)]"),
    re.compile(rb"inf(?<=[(,+\-\s]inf)(?:inity)?\.?\s*[,)]"),
    re.compile(rb"\.#(?:qnan|snan|ind|inf)"),  # as Microsoft's printf writes them
    re.compile(rb"e(?=\+?\d\d\d)(?<=[\d.]e)\+?0*[1-9]\d\d"),  # 1E100 and more: products of such numbers overflow
)
_TEXTS_AND_COMMENTS = re.compile(rb"'[^']*'|/\*.*?\*/", re.DOTALL)
_FACES = (
    b"ADVANCED_FACE",
    b"FACE_SURFACE",
    b"TRIANGULATED_FACE",
    b"TRIANGULATED_SURFACE_SET",
    b"CURVE_BOUNDED_SURFACE",
)
_FACETS = b"POLY_LOOP"
_INSTANCES = (b"NEXT_ASSEMBLY_USAGE_OCCURRENCE", b"MAPPED_ITEM")
_FACES_HINT = "Simplify the model or split the assembly into its parts."
_COMPONENTS_HINT = "Split the assembly into its sub-assemblies."
_WHOLES = (
    TopAbs_ShapeEnum.TopAbs_COMPOUND,
    TopAbs_ShapeEnum.TopAbs_COMPSOLID,
    TopAbs_ShapeEnum.TopAbs_SOLID,
    TopAbs_ShapeEnum.TopAbs_SHELL,
)
_SLOW_REPAIRS = (
    "FixIntersectingEdgesMode",
    "FixIntersectingWiresMode",
    "FixLackingMode",
    "FixLoopWiresMode",
    "FixNonAdjacentIntersectingEdgesMode",
    "FixNotchedEdgesMode",
    "FixSelfIntersectingEdgeMode",
    "FixSelfIntersectionMode",
    "FixSmallAreaWireMode",
    "FixSplitFaceMode",
    "FixTailMode",
)
"""Of OpenCASCADE's ShapeFix: they look at every pair of edges of a face, for borders that cross or have gaps."""
MAX_DEPTH = 200
"""Levels of an assembly: they are gone through recursively."""
_UNREADABLE_HINT = "Open the file in a CAD program and export it again as STEP AP203, AP214 or AP242."


@dataclass(frozen=True)
class Component:
    """A leaf of the assembly tree: a product's label where it is placed."""

    label: TDF_Label
    location: TopLoc_Location
    style: XCAFPrs_Style


@dataclass(frozen=True)
class StepModel:
    """A STEP file as read, in millimetres."""

    document: TDocStd_Document = field(repr=False)
    """Keeps the labels alive."""
    shape: TopoDS_Shape
    components: list[Component]
    names: list[str]
    unit_as_read: str | None
    tree: list[dict[str, Any]] | None
    """Products with `name`, `component` (name of the instance), `placement` (3 × 4, row by row, mm) and `children`;
    None when there is a single component."""


def read_step(data: bytes, slow_repairs: bool = True) -> StepModel:
    """Read a STEP file; without `slow_repairs`, borders of faces that cross or have gaps stay as they are.

    Raises CadError 22023 when it cannot be read or holds no shape, 54000 when it is over a limit.
    """
    _check_text(data)
    _prepare_kernel()
    reader = STEPCAFControl_Reader()
    reader.SetNameMode(True)
    reader.SetColorMode(True)
    document = TDocStd_Document(TCollection_ExtendedString("XmlXCAF"))
    with kernel_errors():
        status = reader.ReadStream("part.step", io.BytesIO(data))
        if not slow_repairs:
            _leave_out(reader, _SLOW_REPAIRS)
        done = status == IFSelect_ReturnStatus.IFSelect_RetDone and reader.Transfer(document)
    if not done:
        reason = "it is damaged or holds no product" if b"END-ISO-10303-21" in data else "it is cut off before its end"
        raise CadError("22023", f"the STEP file cannot be read: {reason}", _UNREADABLE_HINT)
    shape = XCAFDoc_DocumentTool.ShapeTool_s(document.Main()).GetOneShape()
    if shape is None or shape.IsNull():
        raise CadError("22023", "the STEP file holds no shape", _UNREADABLE_HINT)
    check_count(placed_faces(shape), MAX_FACES, "faces", _FACES_HINT)
    components, names, tree = _walk(document)
    return StepModel(document, shape, components, names, _unit(reader), tree if len(components) > 1 else None)


def _leave_out(reader: STEPCAFControl_Reader, repairs: Sequence[str]) -> None:
    """To be called after the file is read: reading it sets the parameters anew."""
    parameters = DataMap_TCollection_AsciiString_TCollection_AsciiString()
    for repair in repairs:
        parameters.Bind(TCollection_AsciiString(f"FixShape.{repair}"), TCollection_AsciiString("0"))
    reader.SetShapeFixParameters(parameters)


def _check_text(data: bytes) -> None:
    """Raise CadError for what would cost OpenCASCADE minutes, and for numbers that it cannot stop at.

    Raises 54000 for too many faces or instances, 22023 for numbers that are not finite.
    """
    faces = max(sum(map(data.count, _FACES)), data.count(_FACETS))
    check_count(faces, MAX_FACES, "faces", _FACES_HINT)
    check_count(max(map(data.count, _INSTANCES)), MAX_COMPONENTS, "components", _COMPONENTS_HINT)
    # A part may be called 'Bolt (NAN)', but stripping the texts of every file would double the cost.
    if _has_infinite_number(data) and _has_infinite_number(_TEXTS_AND_COMMENTS.sub(b"''", data)):
        raise CadError("22023", "the STEP file has coordinates that are not finite numbers", _UNREADABLE_HINT)


def _has_infinite_number(data: bytes) -> bool:
    text = data.lower()
    return any(pattern.search(text) for pattern in _NOT_FINITE)


def placed_faces(shape: TopoDS_Shape) -> int:
    """Faces of a shape, those of a part as often as it is placed; a part is looked at once however often that is.

    Raises CadError 54000 for an assembly of more than MAX_DEPTH levels.
    """
    counted: dict[TopoDS_TShape, int] = {}

    def count(part: TopoDS_Shape, depth: int) -> int:
        check_count(depth, MAX_DEPTH, "levels", "Export the assembly with fewer levels.")
        if part.ShapeType() not in _WHOLES:
            return int(part.ShapeType() == TopAbs_ShapeEnum.TopAbs_FACE)
        body = part.TShape()
        if body not in counted:
            faces = 0
            for child in _children(part):
                faces += count(child, depth + 1)
            counted[body] = faces
        return counted[body]

    return count(shape, 0)


def _children(shape: TopoDS_Shape) -> Iterator[TopoDS_Shape]:
    children = TopoDS_Iterator(shape)
    while children.More():
        yield children.Value()
        children.Next()


@contextmanager
def kernel_errors() -> Iterator[None]:
    """Turn what OpenCASCADE raises over a shape into CadError 22023, and its lack of memory into MemoryError."""
    try:
        yield
    except Standard_OutOfMemory as error:
        raise MemoryError(str(error)) from error
    except Exception as error:
        # Its exceptions have no common base in Python. A RuntimeError is what no translator of the bindings knows.
        if not (isinstance(error, RuntimeError) or type(error).__module__.startswith("OCP")):
            raise
        raise CadError(
            "22023", "the STEP file holds geometry that OpenCASCADE cannot work with", _UNREADABLE_HINT, str(error)
        ) from error


def _prepare_kernel() -> None:
    """Read into millimetres, and silently: OpenCASCADE reports on standard output."""
    STEPControl_Controller.Init_s()
    Interface_Static.SetCVal_s("xstep.cascade.unit", "MM")
    Message.DefaultMessenger_s().ChangePrinters().Clear()


def _unit(reader: STEPCAFControl_Reader) -> str | None:
    lengths, angles, solid_angles = (Sequence_TCollection_AsciiString() for _ in range(3))
    reader.ChangeReader().FileUnits(lengths, angles, solid_angles)
    names = [lengths.Value(i).ToCString().lower() for i in range(1, lengths.Length() + 1)]
    return _UNITS.get(names[0], names[0]) if names else None


def _walk(document: TDocStd_Document) -> tuple[list[Component], list[str], list[dict[str, Any]]]:
    """Leaves, distinct names in order, and the tree, in one pass and without recursion."""
    roots = Sequence_TDF_Label()
    XCAFDoc_DocumentTool.ShapeTool_s(document.Main()).GetFreeShapes(roots)
    explorer = XCAFPrs_DocumentExplorer(document, roots, XCAFPrs_DocumentExplorerFlags_None)
    components: list[Component] = []
    names: dict[str, None] = {}
    tree: list[dict[str, Any]] = []
    levels = [tree]
    nodes = 0
    while explorer.More():
        nodes += 1
        check_count(nodes, MAX_COMPONENTS, "components", _COMPONENTS_HINT)
        node, depth = explorer.Current(), explorer.CurrentDepth()
        entry = _entry(node)
        names[entry["name"]] = None
        del levels[depth + 1 :]
        levels[depth].append(entry)
        if node.IsAssembly:
            levels.append(entry.setdefault("children", []))
        else:
            components.append(Component(node.RefLabel, node.Location, node.Style))
        explorer.Next()
    return components, [name for name in names if name], tree


def _entry(node: XCAFPrs_DocumentNode) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": _name(node.RefLabel)}
    instance = _name(node.Label)
    if instance and instance != entry["name"]:
        entry["component"] = instance
    transform = node.LocalTrsf.Transformation()
    placement = [round(transform.Value(row, column), 9) for row in (1, 2, 3) for column in (1, 2, 3, 4)]
    if placement != _IDENTITY:
        entry["placement"] = placement
    return entry


def _name(label: TDF_Label) -> str:
    attribute = TDataStd_Name()
    return clean_name(attribute.Get().ToExtString()) if label.FindAttribute(TDataStd_Name.GetID_s(), attribute) else ""
