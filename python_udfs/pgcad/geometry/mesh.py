"""Mesh files (STL, OBJ, PLY, GLB, glTF, 3MF, OFF) through trimesh, and the mesh that is kept of every part."""

from __future__ import annotations

import io

import numpy as np
import trimesh
from numpy.typing import NDArray

from pgcad.errors import CadError
from pgcad.geometry.containers import check_container, without_comments
from pgcad.geometry.limits import MAX_COMPONENTS, MAX_TRIANGLES, check_count, check_extent
from pgcad.geometry.surface import Surface, check_area, join, turned_outward, weld
from pgcad.geometry.text import clean_name
from pgcad.geometry.units import MILLIMETRES

_HINT = "Export the part again as binary STL, or as STEP."
_WITH_MATERIALS = ("obj", "ply", "glb", "gltf")
_GLTF = ("glb", "gltf")
_Y_UP_TO_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""From glTF's axes (y up, z to the front) to ours."""


def load_scene(data: bytes, fmt: str) -> trimesh.Scene:
    """A mesh file as a trimesh scene; nothing outside the file is read, textures and materials are left alone.

    Raises CadError 22023 when it cannot be read or has no faces, 54000 when it is over a limit.
    """
    check_container(data, fmt)
    if fmt == "off":
        data = without_comments(data)  # trimesh reads lines before a comment twice
    options = {"skip_materials": True} if fmt in _WITH_MATERIALS else {}
    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type=fmt, process=False, **options)
        triangles = sum(len(mesh.faces) for mesh, _ in _placed(scene))
    except (CadError, MemoryError):
        raise
    except Exception as error:  # each parser raises its own
        reason = clean_name(error) or type(error).__name__
        raise CadError("22023", f"the {fmt} file cannot be read: {reason}", _HINT) from error
    check_count(triangles, MAX_TRIANGLES, "triangles", "Export a coarser mesh.")
    if not triangles:
        raise CadError("22023", f"the {fmt} file has no faces", "If it holds points only, give them as xyz or npy.")
    return scene


def scene_unit(scene: trimesh.Scene, fmt: str) -> str:
    """What the numbers of a file are: 3MF says it, glTF's standard says metres, others are taken as millimetres."""
    if fmt in _GLTF:
        return "m"
    return str(scene.metadata.get("units", "mm")) if fmt == "3mf" else "mm"


def scene_names(scene: trimesh.Scene) -> list[str]:
    """Names of the objects, without those that trimesh made up."""
    names = (clean_name(name) for name in scene.geometry)
    return list(dict.fromkeys(name for name in names if name and not name.startswith("geometry_")))


def scene_surface(scene: trimesh.Scene, fmt: str, scale: float) -> Surface:
    """All objects where they are placed, in millimetres and z up. Each is welded by itself: touching objects stay
    apart. A closed surface that is inside out is turned over.

    Raises CadError 22023 for corners that do not exist, coordinates that are not finite or absurd, and when no
    triangle has an area.
    """
    surfaces = []
    for mesh, placement in _placed(scene):
        vertices, triangles = _arrays(mesh)
        transform = _Y_UP_TO_Z_UP @ placement if fmt in _GLTF else placement
        vertices = trimesh.transform_points(vertices, transform) * scale
        check_extent(vertices[np.unique(triangles)])
        flipped = triangles[:, ::-1] if np.linalg.det(transform[:3, :3]) < 0 else triangles
        surfaces.append(weld(vertices, flipped, _face_colours(mesh)))
    surface = join(surfaces)
    check_area(surface)
    return turned_outward(surface)


def mesh_glb(shape: Surface | NDArray[np.floating]) -> bytes:
    """The mesh, or the cloud of points, that is kept for display: GLB as the standard wants it, metres and y up."""
    points_mm = shape.vertices_mm if isinstance(shape, Surface) else np.asarray(shape, float)
    points_m = points_mm @ _Y_UP_TO_Z_UP[:3, :3] / MILLIMETRES["m"]
    if not isinstance(shape, Surface):
        return bytes(trimesh.Scene(trimesh.PointCloud(points_m.astype(np.float32))).export(file_type="glb"))
    mesh = trimesh.Trimesh(points_m, shape.triangles, process=False, validate=False)
    if shape.colours is not None:
        mesh.visual.face_colors = shape.colours
    return bytes(trimesh.Scene(mesh).export(file_type="glb"))


def _arrays(mesh: trimesh.Trimesh) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Vertices (n, 3) and triangles (m, 3), once they fit together: not every parser sees to that."""
    vertices, triangles = np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int32)
    if vertices.shape[1:] != (3,) or triangles.shape[1:] != (3,):
        raise CadError("22023", "the mesh has vertices of other than three coordinates", _HINT)
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise CadError("22023", "the mesh has faces whose corners do not exist", _HINT)
    return vertices, triangles


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
