"""Mesh files (STL, OBJ, PLY, GLB, glTF, 3MF, OFF) through trimesh, and the mesh that is kept of every part."""

from __future__ import annotations

import io

import numpy as np
import trimesh
from numpy.typing import NDArray

from pgcad.errors import CadError
from pgcad.geometry.containers import check_container
from pgcad.geometry.limits import MAX_COMPONENTS, MAX_TRIANGLES, check_count, check_extent
from pgcad.geometry.surface import Surface, check_area, join, weld
from pgcad.geometry.text import clean_name

_HINT = "Export the part again as binary STL, or as STEP."
_WITH_MATERIALS = ("obj", "ply", "glb", "gltf")


def load_scene(data: bytes, fmt: str) -> trimesh.Scene:
    """A mesh file as a trimesh scene; nothing outside the file is read, textures and materials are left alone.

    Raises CadError 22023 when it cannot be read or has no faces, 54000 when it is over a limit.
    """
    check_container(data, fmt)
    options = {"skip_materials": True} if fmt in _WITH_MATERIALS else {}
    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type=fmt, process=False, **options)
        triangles = sum(len(mesh.faces) for mesh, _ in _placed(scene))
    except CadError:
        raise
    except Exception as error:  # each parser raises its own
        reason = clean_name(error) or type(error).__name__
        raise CadError("22023", f"the {fmt} file cannot be read: {reason}", _HINT) from error
    check_count(triangles, MAX_TRIANGLES, "triangles", "Export a coarser mesh.")
    if not triangles:
        raise CadError("22023", f"the {fmt} file has no faces", "If it holds points only, give them as xyz or npy.")
    return scene


def scene_unit(scene: trimesh.Scene, fmt: str) -> str:
    """What a file says its numbers are. Only 3MF says so; everything else is taken as millimetres."""
    return str(scene.metadata.get("units", "mm")) if fmt == "3mf" else "mm"


def scene_names(scene: trimesh.Scene) -> list[str]:
    """Names of the objects, without those that trimesh made up."""
    names = (clean_name(name) for name in scene.geometry)
    return list(dict.fromkeys(name for name in names if name and not name.startswith("geometry_")))


def scene_surface(scene: trimesh.Scene, scale: float) -> Surface:
    """All objects where they are placed, in millimetres. Each is welded by itself: touching objects stay apart.

    Raises CadError 22023 for coordinates that are not finite or absurd, and when no triangle has an area.
    """
    surfaces = []
    for mesh, transform in _placed(scene):
        vertices = trimesh.transform_points(np.asarray(mesh.vertices, float), transform) * scale
        triangles = np.asarray(mesh.faces, np.int32)
        corners = vertices[np.unique(triangles)] if triangles.max() < len(vertices) and triangles.min() >= 0 else None
        if corners is None:
            raise CadError("22023", "the mesh has faces whose corners do not exist", _HINT)
        check_extent(corners)
        flipped = triangles[:, ::-1] if np.linalg.det(transform[:3, :3]) < 0 else triangles
        surfaces.append(weld(vertices, flipped, _face_colours(mesh)))
    surface = join(surfaces)
    check_area(surface)
    return surface


def mesh_glb(shape: Surface | NDArray[np.floating]) -> bytes:
    """The mesh, or the cloud of points, that is kept for display: GLB, in millimetres, z up."""
    if not isinstance(shape, Surface):
        return bytes(trimesh.Scene(trimesh.PointCloud(np.asarray(shape, np.float32))).export(file_type="glb"))
    mesh = trimesh.Trimesh(shape.vertices_mm, shape.triangles, process=False, validate=False)
    if shape.colours is not None:
        mesh.visual.face_colors = shape.colours
    return bytes(trimesh.Scene(mesh).export(file_type="glb"))


def _placed(scene: trimesh.Scene) -> list[tuple[trimesh.Trimesh, NDArray[np.float64]]]:
    nodes = scene.graph.nodes_geometry
    check_count(len(nodes), MAX_COMPONENTS, "objects", "Split the assembly into its sub-assemblies.")
    placed = []
    for node in nodes:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            placed.append((mesh, np.asarray(transform, float)))
    return placed


def _face_colours(mesh: trimesh.Trimesh) -> NDArray[np.uint8] | None:
    if mesh.visual.kind not in ("face", "vertex"):
        return None
    return np.asarray(mesh.visual.face_colors, np.uint8)[:, :3]
