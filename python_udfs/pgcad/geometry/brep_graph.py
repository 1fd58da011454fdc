"""The boundary representation as a graph: faces with grids of points in their parameters, curves between them.

The representation is that of Jayaraman et al. 2021, "UV-Net: Learning from Boundary Representations".
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

GRID = 5
CURVE_POINTS = 5
SURFACE_TYPES = 11
CURVE_TYPES = 9


@dataclass(frozen=True)
class BrepGraph:
    """n faces and m curves, in mm.

    `face_type` (n,), `area_mm2` (n,), `radius_mm` (n,) of what is round and 0 for the rest, `centroid_mm` (n, 3),
    `grid` (n, GRID, GRID, 7): points, outward normals and whether the point is inside the trimmed face; `pair` (m, 2):
    the faces that a curve joins; `curve_type` (m,), `length_mm` (m,), `curve` (m, CURVE_POINTS, 3). Types are numbered
    as OpenCASCADE does (GeomAbs).
    """

    face_type: NDArray[np.uint8]
    area_mm2: NDArray[np.float32]
    radius_mm: NDArray[np.float32]
    centroid_mm: NDArray[np.float32]
    grid: NDArray[np.float32]
    pair: NDArray[np.int32]
    curve_type: NDArray[np.uint8]
    length_mm: NDArray[np.float32]
    curve: NDArray[np.float32]


NO_FACES = BrepGraph(
    face_type=np.zeros(0, np.uint8),
    area_mm2=np.zeros(0, np.float32),
    radius_mm=np.zeros(0, np.float32),
    centroid_mm=np.zeros((0, 3), np.float32),
    grid=np.zeros((0, GRID, GRID, 7), np.float32),
    pair=np.zeros((0, 2), np.int32),
    curve_type=np.zeros(0, np.uint8),
    length_mm=np.zeros(0, np.float32),
    curve=np.zeros((0, CURVE_POINTS, 3), np.float32),
)
"""The graph of what has no B-rep."""


def pack_graph(graph: BrepGraph) -> bytes:
    """The graph as bytes, for another process."""
    out = io.BytesIO()
    np.savez(out, **asdict(graph))
    return out.getvalue()


def unpack_graph(data: bytes) -> BrepGraph:
    """The graph that `pack_graph` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return BrepGraph(**stored)
