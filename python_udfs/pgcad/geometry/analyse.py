"""From a file to everything the database keeps of a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgcad.geometry.brep_graph import BrepGraph
from pgcad.geometry.mesh import mesh_glb
from pgcad.geometry.reading import Reading, cloud_reading, read
from pgcad.geometry.report import make_report
from pgcad.geometry.silhouettes import silhouettes
from pgcad.geometry.views import THUMBNAIL_SIZE, THUMBNAIL_VIEW, png_bytes, render


@dataclass(frozen=True)
class Analysis:
    """What `analyse` makes of a file; `report` is described in docs/design.md."""

    report: dict[str, Any]
    mesh_glb: bytes
    points: NDArray[np.float32]
    """(2048, 6): millimetres and unit normals."""
    silhouettes: NDArray[np.uint32]
    """(150, 32): from all around, a bit for each pixel of a row."""
    thumbnail_png: bytes
    view_pngs: list[bytes]
    views: NDArray[np.uint8]
    """(10, 224, 224, 3), RGB, in the order of `VIEWS`."""
    brep: BrepGraph | None


def analyse(data: bytes, fmt: str, metadata: Mapping[str, Any]) -> Analysis:
    """Read a file and derive report, mesh, points and pictures. Deterministic.

    Raises CadError for anything that is wrong with the file.
    """
    reading = read(data, fmt, metadata.get("units"), with_brep=True)
    views = render(reading.shape)
    return Analysis(
        report=make_report(reading, metadata),
        mesh_glb=mesh_glb(reading.shape),
        points=reading.points,
        silhouettes=silhouettes(reading.points),
        thumbnail_png=_thumbnail(reading),
        view_pngs=[png_bytes(view) for view in views],
        views=views,
        brep=reading.brep,
    )


def file_thumbnail(data: bytes, fmt: str) -> bytes:
    """The thumbnail of a file as PNG, as `analyse` makes it. Raises CadError."""
    return _thumbnail(read(data, fmt))


def cloud_thumbnail(xyz: NDArray[np.floating]) -> bytes:
    """The thumbnail of a cloud of points (n, 3) in mm as PNG. Raises CadError."""
    return _thumbnail(cloud_reading(xyz))


def shape_points(data: bytes, fmt: str, units: str | None = None) -> NDArray[np.float32]:
    """Points of a file as the shape encoder wants them: (2048, 6), mm and unit normals.

    Raises CadError.
    """
    return read(data, fmt, units).points


def cloud_points(xyz: NDArray[np.floating]) -> NDArray[np.float32]:
    """Points of a cloud (n, 3) in mm as the shape encoder wants them: (2048, 6), normals estimated.

    Raises CadError.
    """
    return cloud_reading(xyz).points


def _thumbnail(reading: Reading) -> bytes:
    return png_bytes(render(reading.shape, [THUMBNAIL_VIEW], THUMBNAIL_SIZE, coloured=True, smooth=True)[0])
