"""Pictures of a part: grey shaded with feature edges on white, orthographic, without a display (VTK through EGL)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkFeatureEdges
from vtkmodules.vtkFiltersHybrid import vtkPolyDataSilhouette
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkCamera,
    vtkLight,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkWindowToImageFilter,
)
from vtkmodules.vtkRenderingOpenGL2 import vtkEGLRenderWindow

from pgcad.geometry.surface import Surface

VIEW_SIZE = 224
THUMBNAIL_SIZE = 256
FEATURE_ANGLE_DEG = 30.0
_INK = (0.1, 0.1, 0.1)
_ISOMETRIC_DEG = math.degrees(math.atan(1 / math.sqrt(2)))


@dataclass(frozen=True)
class View:
    """Where the camera stands: azimuth 0 is at −y and 90 at +x, elevation 90 is above; z is up."""

    name: str
    azimuth_deg: float
    elevation_deg: float


@dataclass(frozen=True)
class Look:
    """How a part is drawn: shaded, or as a drawing of lines on white, feature edges and outline.

    `light`: where the light stands as the camera sees it (right, up, towards the camera); over the left shoulder the
    three faces of a box differ in every isometric view. `grey` and `ambient` lie between 0 and 1.
    """

    drawing: bool = False
    edges: bool = True
    light: tuple[float, float, float] = (-0.5, 0.7, 1.0)
    grey: float = 0.85
    ambient: float = 0.3


SHADED = Look()
DRAWING = Look(drawing=True)
VIEWS = (
    View("front", 0, 0),
    View("back", 180, 0),
    View("left", 270, 0),
    View("right", 90, 0),
    View("top", 0, 90),
    View("bottom", 0, -90),
    *(View(f"isometric {azimuth}", azimuth, round(_ISOMETRIC_DEG, 2)) for azimuth in (45, 135, 225, 315)),
)
THUMBNAIL_VIEW = VIEWS[6]


def camera_axes(view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors from the centre to the camera and upwards in the picture.

    Seen from above or below at azimuth 0, x points right.
    """
    azimuth, elevation = math.radians(view.azimuth_deg), math.radians(view.elevation_deg)
    outward = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
    axis_z = np.array([0.0, 0.0, 1.0])
    towards = math.cos(elevation) * outward + math.sin(elevation) * axis_z
    up = math.cos(elevation) * axis_z - math.sin(elevation) * outward
    return towards, up


def render(
    shape: Surface | NDArray[np.floating],
    views: Sequence[View] = VIEWS,
    size: int = VIEW_SIZE,
    coloured: bool = False,
    look: Look = SHADED,
    smooth: bool = False,
) -> NDArray[np.uint8]:
    """Pictures of a surface, or of a cloud of points (n, 3): uint8 (views, size, size, 3), RGB.

    The scene is fitted to the sphere around the centre of the bounding box, so all views share one scale. `smooth`
    antialiases, for eyes: it takes three times as long and helps no encoder.
    """
    points = shape.vertices_mm if isinstance(shape, Surface) else np.asarray(shape, float)[:, :3]
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).max()) or 1.0
    unit = (points - centre) / radius
    stage = _stage(smooth)
    stage.light.SetPosition(*look.light)
    if isinstance(shape, Surface):
        actors = _surface_actors(shape, unit, coloured, look, stage.camera)
    else:
        actors = [_cloud_actor(unit)]
    for actor in actors:
        stage.renderer.AddActor(actor)
    try:
        return np.stack([stage.shoot(view, size) for view in views])
    finally:
        for actor in actors:
            stage.renderer.RemoveActor(actor)
            actor.ReleaseGraphicsResources(stage.window)


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as PNG; stored as greyscale when it has no colour, a third of the size."""
    grey = bool((picture == picture[..., :1]).all())
    out = io.BytesIO()
    Image.fromarray(picture[..., 0] if grey else picture).save(out, "PNG", compress_level=6)
    return out.getvalue()


class _Stage:
    """One window per process: making one costs half a second, a picture a few milliseconds."""

    def __init__(self, smooth: bool) -> None:
        self.window = vtkEGLRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(4 if smooth else 0)
        self.renderer = vtkRenderer()
        self.renderer.SetBackground(1.0, 1.0, 1.0)
        self.light = vtkLight()
        self.light.SetLightTypeToCameraLight()
        self.light.SetFocalPoint(0.0, 0.0, 0.0)
        self.renderer.AddLight(self.light)
        self.window.AddRenderer(self.renderer)
        self.camera = self.renderer.GetActiveCamera()
        self.camera.ParallelProjectionOn()
        self.camera.SetParallelScale(1.02)
        self.camera.SetFocalPoint(0, 0, 0)
        self.camera.SetClippingRange(1.0, 5.0)

    def shoot(self, view: View, size: int) -> NDArray[np.uint8]:
        if self.window.GetSize() != (size, size):
            self.window.SetSize(size, size)
        towards, up = camera_axes(view)
        self.camera.SetPosition(*(3 * towards))
        self.camera.SetViewUp(*up)
        self.window.Render()
        grab = vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.ShouldRerenderOff()
        grab.Update()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(size, size, 3)[::-1].copy()


@cache
def _stage(smooth: bool) -> _Stage:
    return _Stage(smooth)


def _surface_actors(
    surface: Surface, points: NDArray[np.float64], coloured: bool, look: Look, camera: vtkCamera
) -> list[vtkActor]:
    mesh = _poly_data(points)
    cells = np.column_stack([np.full(len(surface.triangles), 3), surface.triangles]).astype(np.int64)
    polys = vtkCellArray()
    polys.ImportLegacyFormat(numpy_to_vtkIdTypeArray(cells.reshape(-1), deep=True))
    mesh.SetPolys(polys)
    actors = [_face_actor(mesh, look, surface.colours if coloured else None)]
    if look.edges:
        actors.append(_edge_actor(mesh))
    if look.drawing:
        actors.append(_outline_actor(mesh, camera))
    return actors


def _face_actor(mesh: vtkPolyData, look: Look, colours: NDArray[np.uint8] | None) -> vtkActor:
    if colours is not None:
        mesh.GetCellData().SetScalars(numpy_to_vtk(np.ascontiguousarray(colours), deep=True))
    white = (1.0, 1.0, 1.0)
    faces = _actor(mesh, white if look.drawing else (look.grey, look.grey, look.grey))
    # Triangles are pushed back a little so that the edges on them are drawn whole.
    faces.GetMapper().SetResolveCoincidentTopologyToPolygonOffset()
    faces.GetMapper().SetRelativeCoincidentTopologyPolygonOffsetParameters(1.0, 1.0)
    faces.GetProperty().SetInterpolationToFlat()
    faces.GetProperty().SetAmbient(look.ambient)
    faces.GetProperty().SetDiffuse(1.05 - look.ambient)
    faces.GetProperty().SetLighting(not look.drawing)
    return faces


def _edge_actor(mesh: vtkPolyData) -> vtkActor:
    edges = vtkFeatureEdges()
    edges.SetInputData(mesh)
    edges.SetFeatureAngle(FEATURE_ANGLE_DEG)
    edges.NonManifoldEdgesOff()
    edges.ColoringOff()
    edges.Update()
    return _line_actor(edges.GetOutput())


def _outline_actor(mesh: vtkPolyData, camera: vtkCamera) -> vtkActor:
    """The line where the surface turns away from the camera, found anew for every view."""
    outline = vtkPolyDataSilhouette()
    outline.SetInputData(mesh)
    outline.SetCamera(camera)
    outline.SetEnableFeatureAngle(0)
    lines = _line_actor(None)
    lines.GetMapper().SetInputConnection(outline.GetOutputPort())
    return lines


def _line_actor(data: vtkPolyData | None) -> vtkActor:
    lines = _actor(data, _INK)
    lines.GetProperty().SetLighting(False)
    lines.GetProperty().SetLineWidth(1.0)
    return lines


def _cloud_actor(points: NDArray[np.float64]) -> vtkActor:
    cloud = _poly_data(points)
    cells = np.column_stack([np.ones(len(points)), np.arange(len(points))]).astype(np.int64)
    verts = vtkCellArray()
    verts.ImportLegacyFormat(numpy_to_vtkIdTypeArray(cells.reshape(-1), deep=True))
    cloud.SetVerts(verts)
    actor = _actor(cloud, (0.35, 0.35, 0.35))
    actor.GetProperty().SetPointSize(3.0)
    actor.GetProperty().SetLighting(False)
    return actor


def _poly_data(points: NDArray[np.float64]) -> vtkPolyData:
    vertices = vtkPoints()
    vertices.SetData(numpy_to_vtk(np.ascontiguousarray(points, np.float32), deep=True))
    data = vtkPolyData()
    data.SetPoints(vertices)
    return data


def _actor(data: vtkPolyData | None, colour: tuple[float, float, float]) -> vtkActor:
    mapper = vtkPolyDataMapper()
    if data is not None:
        mapper.SetInputData(data)
    actor = vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*colour)
    return actor
