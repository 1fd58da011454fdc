"""The same part in every format has the same size, the same properties and nearly the same points."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import trimesh
from build123d import Box, Cylinder, Pos, Shape
from OCP.Bnd import Bnd_Box
from OCP.BRepBndLib import BRepBndLib
from OCP.BRepMesh import BRepMesh_IncrementalMesh
from OCP.collections import IndexedDataMap_TCollection_AsciiString_TCollection_AsciiString
from OCP.Message import Message_ProgressRange
from OCP.RWGltf import RWGltf_CafReader, RWGltf_CafWriter
from OCP.RWMesh import RWMesh_CoordinateSystem
from OCP.TCollection import TCollection_AsciiString, TCollection_ExtendedString
from OCP.TDocStd import TDocStd_Document
from OCP.XCAFDoc import XCAFDoc_DocumentTool
from part_files import METRES_Y_UP, cloud_file, mesh_file, mesh_of_glb
from pgcad.errors import CadError
from pgcad.geometry.analyse import analyse, cloud_points, shape_points
from pgcad.geometry.formats import CLOUDS, FORMATS, MESHES, check_format, format_name
from scipy.spatial import cKDTree


@pytest.fixture(scope="module")
def part(to_step):
    """A stepped pin with a cross hole, as STEP."""
    return analyse(to_step(Box(20, 12, 4) + Pos(4, 0, 6) * Cylinder(4, 8) - Cylinder(1.5, 4)), "step", {})


@pytest.fixture(scope="module")
def mesh(part):
    return mesh_of_glb(part.mesh_glb)


def gap_mm(one, other):
    """Mean distance from each point to the nearest of the other cloud, the worse way round."""
    one, other = one[:, :3], other[:, :3]
    return max(cKDTree(a).query(b)[0].mean() for a, b in ((one, other), (other, one)))


@pytest.mark.parametrize("fmt", MESHES)
def test_a_mesh_agrees_with_the_step_file(fmt, part, mesh):
    analysis = analyse(mesh_file(mesh, fmt), fmt, {})
    report = analysis.report
    assert report["kind"] == "part" and report["closed"] is True
    assert report["unit_as_read"] == ("m" if fmt in ("glb", "gltf") else "mm")
    assert report["size_mm"] == pytest.approx(part.report["size_mm"], abs=0.03)
    assert report["volume_mm3"] == pytest.approx(part.report["volume_mm3"], rel=0.01)
    assert report["area_mm2"] == pytest.approx(part.report["area_mm2"], rel=0.01)
    assert report["principal_moments_mm5"] == pytest.approx(part.report["principal_moments_mm5"], rel=0.01)
    assert report["face_count"] is None and report["faces_by_type"] is None and report["solid_count"] is None
    assert gap_mm(analysis.points, part.points) < 0.4
    assert np.abs(analysis.views.astype(int) - part.views).mean() < 2


@pytest.mark.parametrize("fmt", CLOUDS)
def test_a_cloud_agrees_with_the_step_file(fmt, part):
    analysis = analyse(cloud_file(part.points[:, :3].astype(float), fmt), fmt, {})
    report = analysis.report
    assert report["kind"] == "points" and report["closed"] is False and report["volume_mm3"] is None
    assert report["triangle_count"] is None and report["face_count"] is None and report["area_mm2"] is None
    assert report["size_mm"] == pytest.approx(part.report["size_mm"], abs=0.5)
    assert gap_mm(analysis.points, part.points) < 1e-3
    assert len(analysis.view_pngs) == 10 and (analysis.views < 200).any(axis=(1, 2, 3)).all()


def test_normals_of_a_cloud_follow_the_surface(part):
    cloud = cloud_points(part.points[:, :3])
    _, nearest = cKDTree(part.points[:, :3]).query(cloud[:, :3])
    agreement = np.abs(np.einsum("pi,pi->p", cloud[:, 3:], part.points[nearest, 3:]))
    assert (agreement > 0.9).mean() > 0.7


@pytest.mark.parametrize(
    "units,scale", [("mm", 1), ("cm", 10), ("m", 1000), ("inch", 25.4), ("ft", 304.8), ("um", 0.001)]
)
@pytest.mark.parametrize("fmt", ["stl", "xyz"])
def test_declared_units_become_millimetres(fmt, units, scale):
    box = trimesh.creation.box((1, 2, 3))
    data = mesh_file(box, fmt) if fmt == "stl" else cloud_file(box.vertices, fmt)
    report = analyse(data, fmt, {"units": units}).report
    assert report["size_mm"] == pytest.approx([scale, 2 * scale, 3 * scale]) and report["unit_as_read"] == units


@pytest.mark.parametrize(
    "unit,read,scale",
    [
        ("inch", "inch", 25.4),
        ("foot", "ft", 304.8),
        ("micron", "um", 0.001),
        ("meter", "m", 1000),
        ("centimeter", "cm", 10),
    ],
)
def test_3mf_says_its_unit_itself(unit, read, scale):
    data = mesh_file(trimesh.creation.box((1, 2, 3)), "3mf")
    report = analyse(repack(data, b'unit="millimeter"', f'unit="{unit}"'.encode()), "3mf", {}).report
    assert report["unit_as_read"] == read and report["size_mm"] == pytest.approx([scale, 2 * scale, 3 * scale])


@pytest.mark.parametrize("fmt", ["glb", "gltf"])
def test_given_units_win_over_the_metres_of_gltf(fmt):
    report = analyse(mesh_file(trimesh.creation.box((1, 2, 3)), fmt), fmt, {"units": "inch"}).report
    assert report["unit_as_read"] == "inch"
    assert report["size_mm"] == pytest.approx([0.0254, 0.0508, 0.0762])
    assert np.argmax(np.subtract(report["box_max_mm"], report["box_min_mm"])) == 2  # z is up all the same


class Gltf:
    """GLB as OpenCASCADE writes and reads it, converting units and axes as the standard says."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "part.glb")

    @staticmethod
    def document() -> TDocStd_Document:
        document = TDocStd_Document(TCollection_ExtendedString("XmlXCAF"))
        XCAFDoc_DocumentTool.SetLengthUnit_s(document, 0.001)
        return document

    def write(self, shape: Shape) -> bytes:
        document = self.document()
        BRepMesh_IncrementalMesh(shape.wrapped, 0.1)
        XCAFDoc_DocumentTool.ShapeTool_s(document.Main()).AddShape(shape.wrapped)
        writer = RWGltf_CafWriter(TCollection_AsciiString(self.path), True)
        axes = writer.ChangeCoordinateSystemConverter()
        axes.SetInputLengthUnit(0.001)
        axes.SetInputCoordinateSystem(RWMesh_CoordinateSystem.RWMesh_CoordinateSystem_Zup)
        assert writer.Perform(
            document, IndexedDataMap_TCollection_AsciiString_TCollection_AsciiString(), Message_ProgressRange()
        )
        return Path(self.path).read_bytes()

    def box_mm(self, data: bytes) -> list[float]:
        """The box around the part: three least coordinates, then three greatest."""
        Path(self.path).write_bytes(data)
        document = self.document()
        reader = RWGltf_CafReader()
        reader.SetDocument(document)
        reader.SetSystemLengthUnit(0.001)
        reader.SetSystemCoordinateSystem(RWMesh_CoordinateSystem.RWMesh_CoordinateSystem_Zup)
        assert reader.Perform(TCollection_AsciiString(self.path), Message_ProgressRange())
        box = Bnd_Box()
        BRepBndLib.Add_s(XCAFDoc_DocumentTool.ShapeTool_s(document.Main()).GetOneShape(), box)
        low, high = box.CornerMin(), box.CornerMax()
        return [*low.Coord(), *high.Coord()]


def test_gltf_of_another_program_is_read_in_its_size_and_the_right_way_up(tmp_path):
    report = analyse(Gltf(tmp_path).write(Pos(0, 0, 15) * Box(10, 20, 30)), "glb", {}).report
    assert report["box_min_mm"] == pytest.approx([-5, -10, 0], abs=1e-4)
    assert report["box_max_mm"] == pytest.approx([5, 10, 30], abs=1e-4)
    assert report["unit_as_read"] == "m" and report["area_mm2"] == pytest.approx(2200, rel=1e-5)


def test_another_program_reads_the_kept_mesh_in_its_size_and_the_right_way_up(to_step, tmp_path):
    kept = analyse(to_step(Pos(0, 0, 15) * Box(10, 20, 30)), "step", {}).mesh_glb
    assert Gltf(tmp_path).box_mm(kept) == pytest.approx([-5, -10, 0, 5, 10, 30], abs=1e-3)


def test_the_kept_cloud_is_in_metres_and_y_up():
    cloud = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 10], [0, 0, 0]])
    kept = trimesh.load_scene(io.BytesIO(analyse(cloud_file(cloud, "npy"), "npy", {}).mesh_glb), file_type="glb")
    [points] = kept.geometry.values()
    found = np.asarray(points.vertices)
    assert sorted(map(tuple, np.round(found * 1000, 3))) == sorted((x, z, -y) for x, y, z in cloud)


def repack(archive: bytes, old: bytes, new: bytes) -> bytes:
    """A zip archive with a text in its files replaced."""
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w") as target:
        contents = {name: source.read(name) for name in source.namelist()}
        assert any(old in content for content in contents.values())
        for name, content in contents.items():
            target.writestr(name, content.replace(old, new))
    return out.getvalue()


def test_an_unknown_unit_is_refused():
    with pytest.raises(CadError, match="'furlong'") as caught:
        analyse(mesh_file(trimesh.creation.box(), "stl"), "stl", {"units": "furlong"})
    assert caught.value.sqlstate == "22023" and "inch" in caught.value.hint


def test_shape_points_and_cloud_points_are_what_analyse_gives(box_step):
    analysis = analyse(box_step, "step", {})
    assert np.array_equal(shape_points(box_step, "step"), analysis.points)
    cloud = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    assert np.array_equal(cloud_points(cloud), analyse(cloud_file(cloud, "npy"), "npy", {}).points)


def test_ascii_stl_and_objects_placed_in_a_scene():
    box = trimesh.creation.box((1, 2, 3))
    ascii_stl = box.export(file_type="stl_ascii").encode()
    assert analyse(ascii_stl, "stl", {}).report["volume_mm3"] == pytest.approx(6)
    scene = trimesh.Scene()
    scene.add_geometry(box, geom_name="cube")
    scene.add_geometry(box, geom_name="cube two", transform=trimesh.transformations.translation_matrix([1, 0, 0]))
    report = analyse(scene.apply_transform(METRES_Y_UP).export(file_type="glb"), "glb", {}).report
    assert report["closed"] is True and report["volume_mm3"] == pytest.approx(12)
    assert report["size_mm"] == pytest.approx([2, 2, 3]) and report["names"] == ["cube", "cube two"]


def test_an_open_mesh_has_no_volume():
    box = trimesh.creation.box((1, 2, 3))
    box.update_faces(np.arange(len(box.faces)) > 0)
    report = analyse(mesh_file(box, "stl"), "stl", {}).report
    assert report["closed"] is False and report["volume_mm3"] is None and report["principal_moments_mm5"] is None


def test_an_inside_out_mesh_has_a_positive_volume():
    box = trimesh.creation.box((1, 2, 3))
    box.invert()
    assert analyse(mesh_file(box, "stl"), "stl", {}).report["volume_mm3"] == pytest.approx(6)


def test_an_inside_out_mesh_is_turned_over_for_points_mesh_and_views():
    box = trimesh.creation.box((1, 2, 3))
    proper = analyse(mesh_file(box, "stl"), "stl", {})
    box.invert()
    turned = analyse(mesh_file(box, "stl"), "stl", {})
    assert (np.einsum("pi,pi->p", turned.points[:, :3], turned.points[:, 3:]) > 0).all()
    assert mesh_of_glb(turned.mesh_glb).volume == pytest.approx(6, rel=1e-5)
    assert np.array_equal(turned.views, proper.views)


def test_a_cavity_stays_a_cavity():
    cavity = trimesh.creation.box((2, 2, 2))
    cavity.invert()
    hollow = trimesh.util.concatenate([trimesh.creation.box((4, 4, 4)), cavity])
    assert analyse(mesh_file(hollow, "stl"), "stl", {}).report["volume_mm3"] == pytest.approx(64 - 8)


def test_vertices_of_degenerate_triangles_count_for_nothing():
    box = trimesh.creation.box((1, 2, 3))
    far = np.array([[900.0, 0, 0], [900, 0, 0], [0, 900, 0]])
    stray = trimesh.Trimesh(
        np.vstack([box.vertices, far]), np.vstack([box.faces, [[8, 9, 10], [8, 8, 8]]]), process=False
    )
    analysis = analyse(mesh_file(stray, "ply"), "ply", {})
    assert analysis.report["size_mm"] == pytest.approx([1, 2, 3])
    assert np.array_equal(analysis.views, analyse(mesh_file(box, "ply"), "ply", {}).views)
    assert len(mesh_of_glb(analysis.mesh_glb).vertices) == 8


@pytest.mark.parametrize("at", [1, 2, 5])
def test_an_off_file_may_hold_comments_anywhere(at):
    lines = mesh_file(trimesh.creation.box((1, 2, 3)), "off").split(b"\n")
    commented = b"\n".join([*lines[:at], b"# a comment with 9 9 9 numbers", *lines[at:]])
    assert analyse(commented, "off", {}).report["volume_mm3"] == pytest.approx(6)


@pytest.mark.parametrize("given,name", [("STEP", "step"), (".stp", "step"), ("Stl", "stl"), ("GLB", "glb")])
def test_format_names_are_forgiving(given, name):
    assert format_name(given) == name


@pytest.mark.parametrize("given", ["iges", "", "step; drop table", "png", "x" * 1000])
def test_an_unknown_format_is_refused_with_the_list(given):
    with pytest.raises(CadError, match="unknown file format") as caught:
        format_name(given)
    assert caught.value.sqlstate == "22023" and all(fmt in caught.value.hint for fmt in FORMATS)
    assert len(caught.value.message) < 100


def test_a_file_that_is_plainly_another_format_says_so(box_step):
    box = trimesh.creation.box()
    for data, fmt, found in [
        (box_step, "stl", "step"),
        (mesh_file(box, "glb"), "step", "glb"),
        (mesh_file(box, "3mf"), "obj", "3mf"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "step", "search_cad_image"),
        (b"%PDF-1.7 ", "step", "PDF"),
    ]:
        with pytest.raises(CadError) as caught:
            check_format(data, fmt)
        assert caught.value.sqlstate == "22023" and found in caught.value.message + caught.value.hint
