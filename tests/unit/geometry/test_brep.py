"""The boundary representation as a graph."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from build123d import Box, Compound, Cylinder, Pos, Rot, Sphere
from OCP.GeomAbs import GeomAbs_CurveType, GeomAbs_SurfaceType
from pgcad.errors import CadError
from pgcad.geometry import brep
from pgcad.geometry import brep_graph as brep_graph_module
from pgcad.geometry.brep import brep_graph
from pgcad.geometry.brep_graph import GRID, BrepGraph, pack_graph, unpack_graph
from pgcad.geometry.reading import read
from unit.geometry.conftest import StepMaker

PLANE, CYLINDER = GeomAbs_SurfaceType.GeomAbs_Plane.value, GeomAbs_SurfaceType.GeomAbs_Cylinder.value
CIRCLE = GeomAbs_CurveType.GeomAbs_Circle.value


@pytest.fixture(scope="module")
def box() -> BrepGraph:
    return brep_graph(Box(10, 20, 30).wrapped)


def test_a_box_has_six_planes_and_twelve_edges(box: BrepGraph) -> None:
    assert (box.face_type == PLANE).all()
    assert sorted(box.area_mm2.tolist()) == pytest.approx([200, 200, 300, 300, 600, 600])
    assert len(box.pair) == 12
    assert sorted(set(np.round(box.length_mm, 4).tolist())) == [10, 20, 30]
    assert len({tuple(sorted(pair)) for pair in box.pair.tolist()}) == 12
    assert (box.pair[:, 0] != box.pair[:, 1]).all()


def test_grids_lie_on_their_faces_and_look_outward(box: BrepGraph) -> None:
    points, normals, inside = box.grid[..., :3], box.grid[..., 3:6], box.grid[..., 6]
    assert box.grid.shape == (6, GRID, GRID, 7)
    assert (inside == 1).all()
    assert np.linalg.norm(normals, axis=-1) == pytest.approx(1, abs=1e-5)
    assert ((points * normals).sum(-1) > 0).all()  # the box lies around the origin
    assert points.mean((1, 2)) == pytest.approx(box.centroid_mm, abs=1e-4)


def test_round_faces_tell_their_radius_and_meet_in_circles() -> None:
    graph = brep_graph(Cylinder(4, 10).wrapped)
    [radius] = graph.radius_mm[graph.face_type == CYLINDER]
    assert radius == pytest.approx(4)
    assert (graph.radius_mm[graph.face_type == PLANE] == 0).all()
    assert (graph.curve_type == CIRCLE).all()
    assert graph.length_mm == pytest.approx(8 * np.pi, rel=1e-5)
    assert brep_graph(Sphere(3).wrapped).radius_mm == pytest.approx([3])


def test_what_is_cut_out_of_a_face_is_outside() -> None:
    graph = brep_graph((Box(20, 20, 2) - Cylinder(8, 10)).wrapped)
    shares = graph.grid[..., 6].mean((1, 2))
    tops = (graph.face_type == PLANE) & (np.abs(graph.area_mm2 - (400 - 64 * np.pi)) < 1)
    assert tops.sum() == 2
    assert (shares[tops] < 0.7).all()
    assert (shares[~tops] == 1).all()


def test_placed_parts_are_where_they_are_placed() -> None:
    pins = Compound(children=[Pos(x, 0, 0) * Rot(0, 90, 0) * Cylinder(1, 5) for x in (0, 10, 20)])
    graph = brep_graph(pins.wrapped)
    centres = graph.centroid_mm[graph.face_type == CYLINDER]
    assert sorted(centres[:, 0].tolist()) == pytest.approx([0, 10, 20], abs=1e-4)


def test_of_too_many_faces_the_largest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brep, "MAX_GRAPH_FACES", 4)
    graph = brep_graph(Box(10, 20, 30).wrapped)
    assert sorted(graph.area_mm2.tolist()) == pytest.approx([300, 300, 600, 600])
    assert len(graph.pair) == 4
    assert graph.pair.max() == 3


def test_a_packed_graph_is_the_same_graph(box: BrepGraph) -> None:
    again = unpack_graph(pack_graph(box))
    for name, values in vars(box).items():
        assert np.array_equal(getattr(again, name), values)


def packed(**arrays: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def test_what_is_no_packed_graph_is_refused(box: BrepGraph) -> None:
    arrays = vars(box)
    without = {name: values for name, values in arrays.items() if name != "pair"}
    bad = {
        "nothing": b"",
        "no archive": b"PK\x03\x04",
        "truncated": pack_graph(box)[:-100],
        "an array missing": packed(**without),
        "an array too many": packed(**arrays, more=box.pair),
        "a face without area": packed(**{**arrays, "area_mm2": box.area_mm2[1:]}),
        "another type": packed(**{**arrays, "area_mm2": box.area_mm2.astype(float)}),
        "not finite": packed(**{**arrays, "area_mm2": box.area_mm2 * np.float32(np.nan)}),
        "a face that is not there": packed(**{**arrays, "pair": box.pair + np.int32(100)}),
        "a face below zero": packed(**{**arrays, "pair": box.pair - np.int32(100)}),
        "a pickle": packed(**{**arrays, "pair": np.array([print], object)}),
    }
    for what, data in bad.items():
        with pytest.raises(CadError) as refused:
            unpack_graph(data)
        assert refused.value.sqlstate == "22023", what


def test_a_graph_that_unpacks_to_too_much_is_refused(box: BrepGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack_graph(box)
    monkeypatch.setattr(brep_graph_module, "MAX_GRAPH_BYTES", 1000)
    with pytest.raises(CadError, match="the limit is 1,000") as refused:
        unpack_graph(data)
    assert refused.value.sqlstate == "54000"


def test_a_step_file_comes_with_its_graph_and_a_mesh_without(to_step: StepMaker) -> None:
    graph = read(to_step(Box(1, 2, 3), "inch"), "step", with_brep=True).brep
    assert graph is not None
    assert graph.length_mm.max() == pytest.approx(3 * 25.4, rel=1e-4)
