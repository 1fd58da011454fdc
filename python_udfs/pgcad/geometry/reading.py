"""What a file of any format is read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgcad.geometry.brep import brep_graph
from pgcad.geometry.brep_graph import BrepGraph
from pgcad.geometry.faces import faces_of
from pgcad.geometry.formats import CLOUDS, STEP, check_format
from pgcad.geometry.limits import check_extent, check_file_bytes
from pgcad.geometry.mesh import load_scene, scene_names, scene_surface, scene_unit
from pgcad.geometry.points import check_cloud, oriented_points, read_cloud, thinned
from pgcad.geometry.properties import (
    Properties,
    cloud_properties,
    is_closed,
    shape_properties,
    surface_properties,
)
from pgcad.geometry.sampling import sample_surface
from pgcad.geometry.step import StepModel, kernel_errors, read_step
from pgcad.geometry.surface import Surface
from pgcad.geometry.tessellate import triangles_of, triangulate
from pgcad.geometry.units import MILLIMETRES, unit_name


@dataclass(frozen=True)
class Reading:
    """A part in millimetres: a surface, or for point clouds the points themselves."""

    kind: str
    shape: Surface | NDArray[np.float64]
    properties: Properties
    points: NDArray[np.float32]
    """(2048, 6): millimetres and unit normals."""
    unit_as_read: str | None
    names: list[str] = field(default_factory=list)
    component_count: int | None = None
    tree: list[dict[str, Any]] | None = None
    brep: BrepGraph | None = None
    """Where it was asked for and the format has a boundary representation."""


def read(data: bytes, fmt: str, units: str | None = None, with_brep: bool = False) -> Reading:
    """Read a file of any format.

    `units` says what a mesh's or cloud's numbers are (`mm`, `cm`, `m`, `inch`, `ft`, `um`), over what the file or its
    standard says; STEP files say it themselves. The graph of the faces takes some time and is made on demand.
    Raises CadError.
    """
    check_file_bytes(data)
    name = check_format(data, fmt)
    if name in STEP:
        return _read_step(data, with_brep)
    return _read_cloud(data, name, units) if name in CLOUDS else _read_mesh(data, name, units)


def _read_step(data: bytes, with_brep: bool) -> Reading:
    model = _triangulated(data)
    with kernel_errors():
        surface = triangles_of(model)
        faces = faces_of(model.shape)
        properties = shape_properties(model.shape, faces)
        brep = brep_graph(faces) if with_brep else None
    return Reading(
        kind="assembly" if model.tree else "part",
        shape=surface,
        properties=properties,
        points=sample_surface(surface),
        unit_as_read=model.unit_as_read,
        names=model.names,
        component_count=len(model.components),
        tree=model.tree,
        brep=brep,
    )


def _triangulated(data: bytes) -> StepModel:
    """A STEP file, with the slow repairs if it needs them: not if without them the shape is closed and the mesher has
    nothing against it.
    """
    model = read_step(data, slow_repairs=False)
    with kernel_errors():
        if is_closed(model.shape) and triangulate(model.shape):
            return model
    model = read_step(data)
    with kernel_errors():
        triangulate(model.shape)
    return model


def _read_mesh(data: bytes, fmt: str, units: str | None) -> Reading:
    scene = load_scene(data, fmt)
    unit = unit_name(units or scene_unit(scene, fmt))
    surface = scene_surface(scene, fmt, MILLIMETRES[unit])
    return Reading(
        kind="part",
        shape=surface,
        properties=surface_properties(surface),
        points=sample_surface(surface),
        unit_as_read=unit,
        names=scene_names(scene),
    )


def _read_cloud(data: bytes, fmt: str, units: str | None) -> Reading:
    unit = unit_name(units or "mm")
    return cloud_reading(read_cloud(data, fmt) * MILLIMETRES[unit], unit)


def cloud_reading(points_mm: NDArray[np.floating], unit_as_read: str = "mm") -> Reading:
    """A cloud of points (n, 3) that is already in memory, checked like one from a file.

    Raises CadError.
    """
    cloud = check_cloud(points_mm)
    check_extent(cloud)
    return Reading(
        kind="points",
        shape=thinned(cloud),
        properties=cloud_properties(cloud),
        points=oriented_points(cloud),
        unit_as_read=unit_as_read,
    )
