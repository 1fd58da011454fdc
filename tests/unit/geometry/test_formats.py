"""The same part in every format has the same size, the same properties and nearly the same points."""

from __future__ import annotations

import io

import numpy as np
import pytest
import trimesh
from build123d import Box, Cylinder, Pos
from pgcad.errors import CadError
from pgcad.geometry.analyse import analyse, cloud_points, shape_points
from pgcad.geometry.formats import CLOUDS, FORMATS, MESHES, check_format, format_name
from scipy.spatial import cKDTree

from .files import cloud_file, mesh_file


@pytest.fixture(scope="module")
def part(to_step):
    """A stepped pin with a cross hole, as STEP."""
    return analyse(to_step(Box(20, 12, 4) + Pos(4, 0, 6) * Cylinder(4, 8) - Cylinder(1.5, 4)), "step", {})


@pytest.fixture(scope="module")
def mesh(part):
    return trimesh.load_scene(io.BytesIO(part.mesh_glb), file_type="glb").to_mesh()


def gap_mm(one, other):
    """Mean distance from each point to the nearest of the other cloud, the worse way round."""
    one, other = one[:, :3], other[:, :3]
    return max(cKDTree(a).query(b)[0].mean() for a, b in ((one, other), (other, one)))


@pytest.mark.parametrize("fmt", MESHES)
def test_a_mesh_agrees_with_the_step_file(fmt, part, mesh):
    analysis = analyse(mesh_file(mesh, fmt), fmt, {})
    report = analysis.report
    assert report["kind"] == "part" and report["unit_as_read"] == "mm" and report["closed"] is True
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
    assert report["triangle_count"] is None and report["face_count"] is None
    assert report["size_mm"] == pytest.approx(part.report["size_mm"], abs=0.5)
    assert gap_mm(analysis.points, part.points) < 1e-3
    assert len(analysis.view_pngs) == 10 and (analysis.views < 200).any(axis=(1, 2, 3)).all()


def test_normals_of_a_cloud_follow_the_surface(part):
    cloud = cloud_points(part.points[:, :3])
    _, nearest = cKDTree(part.points[:, :3]).query(cloud[:, :3])
    agreement = np.abs(np.einsum("pi,pi->p", cloud[:, 3:], part.points[nearest, 3:]))
    assert (agreement > 0.9).mean() > 0.7


@pytest.mark.parametrize("units,scale", [("mm", 1), ("cm", 10), ("m", 1000), ("inch", 25.4)])
@pytest.mark.parametrize("fmt", ["stl", "xyz"])
def test_declared_units_become_millimetres(fmt, units, scale):
    box = trimesh.creation.box((1, 2, 3))
    data = mesh_file(box, fmt) if fmt == "stl" else cloud_file(box.vertices, fmt)
    report = analyse(data, fmt, {"units": units}).report
    assert report["size_mm"] == pytest.approx([scale, 2 * scale, 3 * scale]) and report["unit_as_read"] == units


def test_3mf_says_its_unit_itself():
    data = mesh_file(trimesh.creation.box((1, 2, 3)), "3mf")
    in_inches = repack(data, b'unit="millimeter"', b'unit="inch"')
    report = analyse(in_inches, "3mf", {}).report
    assert report["unit_as_read"] == "inch" and report["size_mm"] == pytest.approx([25.4, 50.8, 76.2])


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
    report = analyse(scene.export(file_type="glb"), "glb", {}).report
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
