"""The boundary representation as a graph: faces with grids of points in their parameters, curves between them.

The representation is that of Jayaraman et al. 2021, "UV-Net: Learning from Boundary Representations".
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgcad.errors import CadError
from pgcad.geometry.limits import check_count

GRID = 5
CURVE_POINTS = 5
SURFACE_TYPES = 11
CURVE_TYPES = 9
MAX_GRAPH_BYTES = 64 * 2**20
"""Some thirty times what the largest graph that is made takes."""
_ARRAYS: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "face_type": ("u1", "face_type", ()),
    "area_mm2": ("f4", "face_type", ()),
    "radius_mm": ("f4", "face_type", ()),
    "centroid_mm": ("f4", "face_type", (3,)),
    "grid": ("f4", "face_type", (GRID, GRID, 7)),
    "pair": ("i4", "pair", (2,)),
    "curve_type": ("u1", "pair", ()),
    "length_mm": ("f4", "pair", ()),
    "curve": ("f4", "pair", (CURVE_POINTS, 3)),
}
"""What a packed graph holds: type, the array that has as many rows, and what a row is."""
_AGAIN_HINT = "Load the part again: pgcad packs its B-rep anew."


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


def pack_graph(graph: BrepGraph) -> bytes:
    """The graph as bytes (npz, deflated), for another process or for later."""
    out = io.BytesIO()
    np.savez_compressed(out, **asdict(graph))
    return out.getvalue()


def unpack_graph(data: bytes) -> BrepGraph:
    """The graph that `pack_graph` packed. Raises CadError 22023 for anything else, 54000 for one that is too large."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            unpacked = sum(member.file_size for member in stored.zip.infolist())
            check_count(unpacked, MAX_GRAPH_BYTES, "bytes when unpacked", _AGAIN_HINT)
            arrays = {name: stored[name] for name in stored}
        if arrays.keys() != _ARRAYS.keys():
            raise ValueError(f"it holds {', '.join(sorted(arrays))[:200]}")
        for name, array in arrays.items():
            _check_array(name, array, arrays)
    except CadError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise what they like
        raise CadError("22023", f"this is not a packed B-rep: {error}", _AGAIN_HINT) from error
    return BrepGraph(**arrays)


def _check_array(name: str, array: NDArray[Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    dtype, rows_of, columns = _ARRAYS[name]
    if array.dtype != dtype or array.shape != (len(arrays[rows_of]), *columns):
        raise ValueError(f"{name} is {array.dtype} {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    if name == "pair" and array.size and (array.min() < 0 or array.max() >= len(arrays["face_type"])):
        raise ValueError("a curve joins a face that is not there")
