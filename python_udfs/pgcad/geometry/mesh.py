"""Mesh files (STL, OBJ, PLY, GLB, glTF, 3MF, OFF) through trimesh, and the mesh that is kept of every part."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import trimesh
from numpy.typing import NDArray

from pgcad.errors import CadError
from pgcad.geometry.limits import MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO, MAX_TRIANGLES, check_count
from pgcad.geometry.surface import Surface, weld

_HINT = "Export the part again as binary STL, or as STEP."


def read_mesh(data: bytes, fmt: str) -> tuple[Surface, list[str], str | None]:
    """The triangles of all objects where they are placed, in the file's unit; object names; the unit if the file says.

    Nothing outside the file is read: textures, materials and buffers that it refers to are ignored or refused.
    Raises CadError 22023 when it cannot be read or has no faces, 54000 when it is over a limit.
    """
    _check_container(data, fmt)
    try:
        scene = trimesh.load_scene(
            io.BytesIO(data), file_type=fmt, resolver=None, allow_remote=False, process=False, skip_materials=True
        )
        meshes = [part for part in scene.dump(concatenate=False) if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except Exception as error:  # trimesh's readers raise whatever their parsers raise
        raise CadError("22023", f"the {fmt} file cannot be read: {error}"[:300], _HINT) from error
    if not meshes:
        raise CadError("22023", f"the {fmt} file has no faces", "Give it as a point cloud (xyz) if it holds points only.")
    return _merge(meshes), [], None


def mesh_glb(shape: Surface | NDArray[np.floating]) -> bytes:
    """The mesh, or the cloud of points, that is kept for display: GLB, in millimetres, z up."""
    if not isinstance(shape, Surface):
        return bytes(trimesh.Scene(trimesh.PointCloud(np.asarray(shape, np.float32))).export(file_type="glb"))
    mesh = trimesh.Trimesh(shape.vertices_mm, shape.triangles, process=False, validate=False)
    if shape.colours is not None:
        mesh.visual.face_colors = shape.colours
    return bytes(trimesh.Scene(mesh).export(file_type="glb"))
