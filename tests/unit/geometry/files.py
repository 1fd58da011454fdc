"""Meshes and clouds as files of every format."""

from __future__ import annotations

import io

import numpy as np
import trimesh
from numpy.typing import NDArray


def mesh_file(mesh: trimesh.Trimesh, fmt: str) -> bytes:
    """A mesh as a file; glTF with its buffers embedded."""
    if fmt == "gltf":
        data = trimesh.Scene(mesh).export(file_type=fmt, embed_buffers=True)["model.gltf"]
    else:
        data = mesh.export(file_type=fmt)
    return data.encode() if isinstance(data, str) else bytes(data)


def cloud_file(points: NDArray[np.float64], fmt: str) -> bytes:
    """A cloud of points as a file."""
    stream = io.BytesIO()
    if fmt == "npy":
        np.save(stream, points)
    else:
        np.savetxt(stream, points, fmt="%.6f")
    return stream.getvalue()
