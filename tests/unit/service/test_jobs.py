"""The production jobs of the workers, on the smallest inputs that show what they hand over."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pgcad.errors import CadError
from pgcad.geometry.brep_graph import unpack_graph
from pgcad.service.jobs import IMAGE_SIDE, JOBS, WARM_UP
from PIL import Image

STEP = next((Path(__file__).parents[3] / "samples/parts").rglob("*.step")).read_bytes()


def test_a_picture_arrives_scaled_down() -> None:
    file = io.BytesIO()
    Image.new("RGB", (4 * IMAGE_SIDE, IMAGE_SIDE), "red").save(file, "PNG")
    header, [pixels] = JOBS["decode_image"]({}, [file.getvalue()])
    assert header["shape"] == [IMAGE_SIDE // 4, IMAGE_SIDE, 3]
    assert set(np.frombuffer(pixels, np.uint8).reshape(-1, 3).max(axis=0)) == {255, 0}


def test_a_cloud_becomes_2048_points_with_normals() -> None:
    cloud = np.random.default_rng(0).random((500, 3), np.float32)
    _, [points] = JOBS["cloud_points"]({}, [cloud.tobytes()])
    normals = np.frombuffer(points, "<f4").reshape(2048, 6)[:, 3:]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-4)


def test_bytes_that_are_no_cloud_are_refused() -> None:
    with pytest.raises(CadError) as refused:
        JOBS["cloud_points"]({}, [b"13 bytes long"])
    assert refused.value.sqlstate == "22023"


def test_a_part_becomes_a_report_and_its_artifacts() -> None:
    header, payloads = JOBS["analyse"]({"format": "off", "metadata": {}}, [WARM_UP])
    mesh, points, silhouettes, thumbnail, *views, pixels, brep = payloads
    assert header["report"]["volume_mm3"] == pytest.approx(9**3 / 6)
    assert mesh[:4] == b"glTF"
    assert len(points) == 2048 * 6 * 4
    assert len(silhouettes) == 150 * 32 * 4
    assert {picture[:4] for picture in [thumbnail, *views]} == {b"\x89PNG"}
    assert (len(views), len(pixels)) == (10, 10 * 224 * 224 * 3)
    assert brep == b""  # a mesh has none
    _, [sampled] = JOBS["shape_points"]({"format": "off"}, [WARM_UP])
    assert sampled == points


def test_a_step_file_has_a_boundary_representation_and_a_mesh_has_none() -> None:
    _, [packed, points] = JOBS["shape_brep"]({"format": "step"}, [STEP])
    _, analysed = JOBS["analyse"]({"format": "step", "metadata": {}}, [STEP])
    assert (packed, points) == (analysed[-1], analysed[1])
    assert len(unpack_graph(packed).face_type)
    with pytest.raises(CadError, match="has no boundary representation") as refused:
        JOBS["shape_brep"]({"format": "off"}, [WARM_UP])
    assert (refused.value.sqlstate, refused.value.hint != "") == ("22023", True)


def test_a_part_is_drawn_as_its_analysis_draws_it_and_a_cloud_is_not() -> None:
    _, [pixels] = JOBS["shape_views"]({"format": "off"}, [WARM_UP])
    _, analysed = JOBS["analyse"]({"format": "off", "metadata": {}}, [WARM_UP])
    assert pixels == analysed[-2]
    cloud = "\n".join(f"{x} {y} {x * y}" for x in range(9) for y in range(9)).encode()
    with pytest.raises(CadError, match="point cloud") as refused:
        JOBS["shape_views"]({"format": "xyz"}, [cloud])
    assert (refused.value.sqlstate, "cad" in refused.value.hint) == ("0A000", True)
