"""Meshes and clouds as files of every format."""

from __future__ import annotations

import io

import numpy as np
import trimesh
from numpy.typing import NDArray

METRES_Y_UP = 0.001 * np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1000]])
"""From millimetres and z up to what the standard of glTF wants."""


def mesh_file(mesh: trimesh.Trimesh, fmt: str) -> bytes:
    """A mesh in mm, z up, as a file; glTF in metres, y up and with its buffers embedded."""
    if fmt in ("glb", "gltf"):
        mesh = mesh.copy().apply_transform(METRES_Y_UP)
    if fmt == "gltf":
        data = trimesh.Scene(mesh).export(file_type=fmt, embed_buffers=True)["model.gltf"]
    else:
        data = mesh.export(file_type=fmt)
    return data.encode() if isinstance(data, str) else bytes(data)


def mesh_of_glb(data: bytes) -> trimesh.Trimesh:
    """The mesh of a GLB file in mm, z up."""
    mesh = trimesh.load_scene(io.BytesIO(data), file_type="glb").to_mesh()
    return mesh.apply_transform(np.linalg.inv(METRES_Y_UP))


def cloud_file(points: NDArray[np.float64], fmt: str) -> bytes:
    """A cloud of points as a file."""
    stream = io.BytesIO()
    if fmt == "npy":
        np.save(stream, points)
    else:
        np.savetxt(stream, points, fmt="%.6f")
    return stream.getvalue()
