"""The production jobs of the workers, on the smallest inputs that show what they hand over."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pgcad.errors import CadError
from pgcad.service.jobs import IMAGE_SIDE, JOBS, WARM_UP
from PIL import Image


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
    mesh, points, thumbnail, *views, pixels, brep = payloads
    assert header["report"]["volume_mm3"] == pytest.approx(9**3 / 6)
    assert mesh[:4] == b"glTF"
    assert len(points) == 2048 * 6 * 4
    assert {picture[:4] for picture in [thumbnail, *views]} == {b"\x89PNG"}
    assert (len(views), len(pixels)) == (10, 10 * 224 * 224 * 3)
    assert brep == b""  # a mesh has none
    _, [sampled] = JOBS["shape_points"]({"format": "off"}, [WARM_UP])
    assert sampled == points
