"""What a file of any format is read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgcad.geometry.formats import CLOUDS, STEP, check_format
from pgcad.geometry.limits import check_file_bytes


from pgcad.geometry.properties import Properties, cloud_properties, shape_properties, surface_properties
from pgcad.geometry.sampling import sample_surface
from pgcad.geometry.step import read_step
from pgcad.geometry.surface import Surface
from pgcad.geometry.tessellate import tessellate


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


def read(data: bytes, fmt: str, units: str | None = None) -> Reading:
    """Read a file of any format.

    `units` says what a mesh's or cloud's numbers are (`mm`, `cm`, `m`, `inch`); STEP files say it themselves.
    Raises CadError.
    """
    check_file_bytes(data)
    name = check_format(data, fmt)
    if name in STEP:
        return _read_step(data)
    raise NotImplementedError


def _read_step(data: bytes) -> Reading:
    model = read_step(data)
    surface = tessellate(model)
    return Reading(
        kind="assembly" if model.tree else "part",
        shape=surface,
        properties=shape_properties(model.shape),
        points=sample_surface(surface),
        unit_as_read=model.unit_as_read,
        names=model.names,
        component_count=len(model.components),
        tree=model.tree,
    )
