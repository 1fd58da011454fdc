"""Point clouds: reading, thinning out to 2,048 and estimating normals."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pgcad.errors import CadError
from pgcad.geometry.limits import MAX_CLOUD_POINTS, check_count
from pgcad.geometry.sampling import POINT_COUNT, SEED

NEIGHBOURS = 16
MIN_POINTS = 4
DISPLAYED_POINTS = 50_000
_HINT = "Give x, y and z in millimetres (or say `units`), one point a line or row."


def read_cloud(data: bytes, fmt: str) -> NDArray[np.float64]:
    """The points of an xyz (text, first three columns) or npy file (n, 3 or more), in the file's unit: (n, 3).

    Raises CadError 22023 when it cannot be read, 54000 when it has too many points.
    """
    try:
        return _read_npy(data) if fmt == "npy" else _read_xyz(data)
    except MemoryError:
        raise
    except Exception as error:  # numpy raises ValueError, EOFError, SyntaxError, tokenize.TokenError …
        raise CadError("22023", f"the {fmt} file cannot be read: {error}", _HINT) from error


def check_cloud(cloud: NDArray[np.floating]) -> NDArray[np.float64]:
    """The same points as float64 (n, 3), once they are finite and enough.

    Raises CadError 22023 or 54000.
    """
    points: NDArray[np.float64] = np.asarray(cloud, np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise CadError("22023", f"points must be an n × 3 array, not {' × '.join(map(str, points.shape))}", _HINT)
    check_count(len(points), MAX_CLOUD_POINTS, "points", "Thin the cloud out first.")
    if len(points) < MIN_POINTS:
        raise CadError("22023", f"a point cloud needs at least {MIN_POINTS} points, not {len(points)}", _HINT)
    if not np.isfinite(points).all():
        raise CadError("22023", "the point cloud has coordinates that are not finite numbers", _HINT)
    return points


def oriented_points(cloud_mm: NDArray[np.float64], count: int = POINT_COUNT) -> NDArray[np.float32]:
    """`count` of the points, always the same ones, with estimated normals: float32 (count, 6).

    A normal is the direction of least spread among the nearest neighbours (Hoppe et al., 1992), turned away from
    the centre of the cloud. A smaller cloud is repeated.
    """
    order = np.random.default_rng(SEED).permutation(len(cloud_mm))
    chosen = cloud_mm[np.resize(order, count)]
    _, neighbours = cKDTree(cloud_mm).query(chosen, k=min(NEIGHBOURS, len(cloud_mm)))
    around = cloud_mm[neighbours]
    offsets = around - around.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("pki,pkj->pij", offsets, offsets))
    normals = axes[:, :, 0]
    outward = np.einsum("pi,pi->p", normals, chosen - cloud_mm.mean(axis=0))
    normals[outward < 0] *= -1
    return np.hstack([chosen, normals]).astype(np.float32)


def thinned(cloud: NDArray[np.float64], count: int = DISPLAYED_POINTS) -> NDArray[np.float64]:
    """At most `count` of the points, always the same ones: enough to look at."""
    if len(cloud) <= count:
        return cloud
    return cloud[np.random.default_rng(SEED).permutation(len(cloud))[:count]]


def _read_npy(data: bytes) -> NDArray[np.float64]:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.kind not in "fiu":
        raise ValueError(f"an array of numbers is wanted, not of {dtype}")
    # Checked before the array is made: a header may promise any size.
    if len(shape) != 2 or shape[1] < 3 or shape[0] * shape[1] * dtype.itemsize > len(data):
        raise ValueError(f"an n × 3 array is wanted, and the header says {shape}")
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False)[:, :3], float)


def _read_xyz(data: bytes) -> NDArray[np.float64]:
    text = data.decode("utf-8-sig").replace(",", " ").replace(";", " ")
    if not text.strip():
        raise ValueError("it is empty")
    return np.loadtxt(io.StringIO(text), comments=("#", "//"), usecols=(0, 1, 2), ndmin=2)
