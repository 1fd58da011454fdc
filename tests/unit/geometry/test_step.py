"""STEP files: what is measured agrees with the formulas, whatever the unit; assemblies, names and colours are kept."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
from build123d import Box, Color, Compound, Cylinder, Face, Pos, Rectangle, Rot, Shape, Solid, Sphere, Torus, Wire
from OCP.BRepBuilderAPI import BRepBuilderAPI_MakeFace, BRepBuilderAPI_MakePolygon
from OCP.gp import gp_Pln, gp_Pnt
from pgcad.client import HEADER_LIMIT, pack
from pgcad.errors import CadError
from pgcad.geometry import reading
from pgcad.geometry import report as reporting
from pgcad.geometry.analyse import analyse
from pgcad.geometry.assembly import cut_names, cut_tree

PI = math.pi


def cylinder_moments(radius: float, height: float) -> list[float]:
    volume = PI * radius**2 * height
    return sorted([volume * radius**2 / 2, *[volume * (3 * radius**2 + height**2) / 12] * 2])


def torus_moments(major: float, minor: float) -> list[float]:
    volume = 2 * PI**2 * major * minor**2
    return sorted([volume * (major**2 + 0.75 * minor**2), *[volume * (major**2 / 2 + 0.625 * minor**2)] * 2])


SOLIDS = {
    "box": (Box(10, 20, 30), 6000, 2200, [250_000, 500_000, 650_000], [10, 20, 30], {"plane": 6}, {"line": 12}),
    "cylinder": (
        Cylinder(4, 20),
        PI * 16 * 20,
        2 * PI * 4 * 24,
        cylinder_moments(4, 20),
        [8, 8, 20],
        {"plane": 2, "cylinder": 1},
        {"circle": 2, "line": 1},
    ),
    "sphere": (Sphere(5), 500 / 3 * PI, 100 * PI, [1000 / 3 * PI * 5] * 3, [10] * 3, {"sphere": 1}, {"circle": 1}),
    "torus": (
        Torus(10, 3),
        180 * PI**2,
        120 * PI**2,
        torus_moments(10, 3),
        [6, 26, 26],
        {"torus": 1},
        {"circle": 2},
    ),
}


@pytest.mark.parametrize("unit,scale", [("mm", 1.0), ("inch", 25.4), ("m", 1000.0)])
@pytest.mark.parametrize("name", SOLIDS)
def test_properties_agree_with_the_formulas(name, unit, scale, to_step):
    solid, volume, area, moments, size, faces, edges = SOLIDS[name]
    report = analyse(to_step(Pos(1, 2, 3) * solid, unit), "step", {}).report
    assert report["closed"] is True
    assert report["kind"] == "part" and report["solid_count"] == 1 and report["component_count"] == 1
    assert report["unit_as_read"] == unit
    assert report["volume_mm3"] == pytest.approx(volume * scale**3, rel=1e-6)
    assert report["area_mm2"] == pytest.approx(area * scale**2, rel=1e-6)
    assert report["principal_moments_mm5"] == pytest.approx(np.array(moments) * scale**5, rel=1e-6)
    assert report["center_of_mass_mm"] == pytest.approx(np.array([1, 2, 3]) * scale, abs=1e-6 * scale)
    assert report["size_mm"] == pytest.approx(np.array(size) * scale, abs=1e-5)
    assert report["faces_by_type"] == faces and report["face_count"] == sum(faces.values())
    assert report["edges_by_type"] == edges


def test_a_rotated_part_keeps_volume_moments_and_sorted_size(to_step):
    upright = analyse(to_step(Box(10, 20, 30)), "step", {}).report
    lying = analyse(to_step(Rot(0, 90, 0) * Box(10, 20, 30)), "step", {}).report
    for key in ("volume_mm3", "principal_moments_mm5", "size_mm"):
        assert lying[key] == pytest.approx(upright[key], rel=1e-9)


def test_points_lie_on_the_surface_with_outward_normals(to_step):
    points = analyse(to_step(Sphere(5)), "step", {}).points
    assert points.shape == (2048, 6) and points.dtype == np.float32
    positions, normals = points[:, :3], points[:, 3:]
    assert np.linalg.norm(positions, axis=1) == pytest.approx(np.full(2048, 5.0), abs=0.05)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(2048), abs=1e-5)
    assert (np.einsum("pi,pi->p", positions / 5, normals) > 0.97).all()


def test_points_are_spread_by_area(box_step):
    points = analyse(box_step, "step", {}).points
    on_large_faces = np.isclose(np.abs(points[:, 0]), 5).mean()
    assert on_large_faces == pytest.approx(1200 / 2200, abs=0.01)
    assert np.isclose(np.abs(points[:512, 0]), 5).mean() == pytest.approx(1200 / 2200, abs=0.06)


def test_the_same_bytes_give_the_same_result(assembly_step):
    first, second = (analyse(assembly_step, "step", {"name": "bracket"}) for _ in range(2))
    assert first.report == second.report
    assert first.mesh_glb == second.mesh_glb and first.view_pngs == second.view_pngs
    assert first.thumbnail_png == second.thumbnail_png
    assert np.array_equal(first.points, second.points) and np.array_equal(first.views, second.views)


def test_an_assembly_keeps_names_colours_and_placements(assembly_step):
    report = analyse(assembly_step, "step", {}).report
    assert report["kind"] == "assembly" and report["component_count"] == 3 and report["solid_count"] == 3
    assert report["name"] == "bracket"
    assert report["names"] == ["bracket", "plate", "pin 0", "pin 1"]
    assert sorted(report["colours"]) == ["#0000ff", "#ff0000"]
    assert report["volume_mm3"] == pytest.approx(800 + 20 * PI, rel=1e-6)
    (root,) = report["genome"]["assembly"]
    assert [child["name"] for child in root["children"]] == ["plate", "pin 0", "pin 1"]
    assert "placement" not in root["children"][0]
    placement = np.array(root["children"][2]["placement"]).reshape(3, 4)
    assert placement[:, :3] == pytest.approx(np.eye(3)) and placement[:, 3] == pytest.approx([10, 0, 6])


def test_a_part_without_colours_has_none(box_step):
    assert analyse(box_step, "step", {}).report["colours"] == []


def test_faces_without_colour_beside_coloured_ones_are_grey(to_step):
    red, plain = Box(1, 1, 1), Pos(5, 0, 0) * Box(1, 1, 1)
    red.color = Color("red")
    report = analyse(to_step(Compound(children=[red, plain])), "step", {}).report
    assert sorted(report["colours"]) == ["#b8b8b8", "#ff0000"]


def test_a_large_tree_is_cut_level_by_level_and_counted_whole(box_step, monkeypatch):
    pins = [{"name": f"pin {number}"} for number in range(50)]
    tree = [{"name": "top", "children": [{"name": "left", "children": pins}, {"name": "right", "children": pins}]}]
    read = reading.read(box_step, "step")
    many = dataclasses.replace(read, tree=tree, names=[f"pin {number}" for number in range(50)], component_count=100)
    monkeypatch.setattr(reporting, "cut_tree", functools.partial(cut_tree, limit_bytes=2000))
    monkeypatch.setattr(reporting, "cut_names", functools.partial(cut_names, limit_bytes=500))
    found = reporting.make_report(many, {})
    [top] = found["genome"]["assembly"]
    assert [child["name"] for child in top["children"]] == ["left", "right"]
    kept = found["genome"]["assembly_cut"]["kept"]
    assert found["genome"]["assembly_cut"] == {"kept": kept, "of": 103} and 3 < kept < 103
    assert found["component_count"] == 100
    assert found["genome"]["names_cut"] == {"kept": len(found["names"]), "of": 50} and 0 < len(found["names"]) < 50


def test_the_longest_tree_and_names_fit_into_an_answer(box_step):
    tree = [{"name": "螺" * 300, "component": "钉" * 300, "placement": [1 / 3] * 12} for _ in range(50_000)]
    many = dataclasses.replace(
        reading.read(box_step, "step"), tree=tree, names=["螺" * 290 + str(i) for i in range(50_000)]
    )
    metadata = {"description": "螺" * 20_000, "description_zh": "螺" * 20_000}
    assert len(pack({"report": reporting.make_report(many, metadata)})) < HEADER_LIMIT


def test_a_tree_that_fits_is_whole(assembly_step):
    assert set(analyse(assembly_step, "step", {}).report["genome"]) == {"assembly"}


def test_triangles_stay_sane_from_a_small_pin_to_a_large_plate(to_step):
    plate = Box(2000, 1000, 10) - Pos(900, 400, 0) * Cylinder(2, 20)
    for solid in (Cylinder(0.2, 1), Torus(10, 3), plate):
        assert 40 < analyse(to_step(solid), "step", {}).report["triangle_count"] < 20_000


def test_a_sheet_without_a_solid_is_searchable(to_step):
    report = analyse(to_step(Rectangle(10, 20)), "step", {}).report
    assert report["closed"] is False and report["solid_count"] == 0
    assert report["volume_mm3"] is None and report["principal_moments_mm5"] is None
    assert report["area_mm2"] == pytest.approx(200) and report["size_mm"] == pytest.approx([0, 10, 20])


@pytest.mark.parametrize("solid", [False, True], ids=["face", "prism"])
def test_borders_that_cross_are_repaired(solid, to_step):
    polygon = BRepBuilderAPI_MakePolygon(gp_Pnt(0, 0, 0), gp_Pnt(30, 20, 0), gp_Pnt(30, 0, 0), gp_Pnt(0, 20, 0), True)
    bow_tie = Face(BRepBuilderAPI_MakeFace(gp_Pln(), polygon.Wire(), True).Face())
    part = Solid.extrude(bow_tie, (0, 0, 10)) if solid else bow_tie
    found = reading.read(to_step(part), "step")
    sides_mm2 = 10 * (2 * 20 + 2 * math.hypot(30, 20)) if solid else 0
    assert found.properties.area_mm2 == pytest.approx(300 * (1 + solid) + sides_mm2, rel=1e-6)
    assert found.shape.areas_mm2.sum() == pytest.approx(found.properties.area_mm2, rel=1e-6)


def test_a_wireframe_is_refused(to_step):
    with pytest.raises(CadError, match="no faces") as caught:
        analyse(to_step(Wire.make_circle(5)), "step", {})
    assert caught.value.sqlstate == "22023"


@pytest.mark.parametrize(
    "written,read",
    [
        ("'; drop table cad.model; --", "'; drop table cad.model; --"),
        ("\u202egnirts\u202c bolt", "gnirts bolt"),
        ("bolt\x07\x1b[31m\tM8", "bolt[31m M8"),
        ("六角螺栓", "六角螺栓"),
    ],
)
def test_names_are_kept_without_control_characters(written, read, to_step):
    part: Shape = Box(1, 2, 3)
    part.label = "PLACE-OF-NAME"
    data = to_step(part).replace(b"PLACE-OF-NAME", written.replace("'", "''").encode())
    report = analyse(data, "step", {}).report
    assert report["names"] == [read] and report["name"] == read


def test_a_hole_goes_all_the_way_through_the_numbers(to_step):
    report = analyse(to_step(Cylinder(6, 4) - Cylinder(4, 4)), "step", {}).report
    assert report["volume_mm3"] == pytest.approx(PI * (36 - 16) * 4)
    assert report["face_count"] == 4 and report["faces_by_type"] == {"cylinder": 2, "plane": 2}
