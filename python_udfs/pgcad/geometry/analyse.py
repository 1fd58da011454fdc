"""From a file to everything the database keeps of a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgcad.geometry.mesh import mesh_glb
from pgcad.geometry.reading import Reading, read
from pgcad.geometry.surface import Surface, dominant_colours
from pgcad.geometry.views import THUMBNAIL_SIZE, THUMBNAIL_VIEW, VIEWS, png_bytes, render


@dataclass(frozen=True)
class Analysis:
    """What `analyse` makes of a file; `report` is described in docs/design.md."""

    report: dict[str, Any]
    mesh_glb: bytes
    points: NDArray[np.float32]
    """(2048, 6): millimetres and unit normals."""
    thumbnail_png: bytes
    view_pngs: list[bytes]
    views: NDArray[np.uint8]
    """(10, 224, 224, 3), RGB, in the order of `VIEWS`."""


def analyse(data: bytes, fmt: str, metadata: Mapping[str, Any]) -> Analysis:
    """Read a file and derive report, mesh, points and pictures. Deterministic.

    Raises CadError for anything that is wrong with the file.
    """
    reading = read(data, fmt, metadata.get("units"))
    views = render(reading.shape)
    thumbnail = render(reading.shape, [THUMBNAIL_VIEW], THUMBNAIL_SIZE, coloured=True)[0]
    return Analysis(
        report=_report(reading, metadata),
        mesh_glb=mesh_glb(reading.shape),
        points=reading.points,
        thumbnail_png=png_bytes(thumbnail),
        view_pngs=[png_bytes(view) for view in views],
        views=views,
    )


def _report(reading: Reading, metadata: Mapping[str, Any]) -> dict[str, Any]:
    properties = reading.properties
    surface = reading.shape if isinstance(reading.shape, Surface) else None
    return {
        "kind": reading.kind,
        "unit_as_read": reading.unit_as_read,
        **asdict(properties),
        "size_mm": properties.size_mm,
        "component_count": reading.component_count,
        "names": reading.names,
        "colours": dominant_colours(surface) if surface else [],
        "triangle_count": len(surface.triangles) if surface else None,
        "views": [{"view": index, **asdict(view)} for index, view in enumerate(VIEWS)],
        "genome": {"assembly": reading.tree} if reading.tree else None,
    }
