"""Whatever the bytes are, a reader ends in a part or in a CadError."""

from __future__ import annotations

import numpy as np
import trimesh
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from part_files import cloud_file, mesh_file
from pgcad.errors import CadError
from pgcad.geometry.formats import CLOUDS, FORMATS, MESHES
from pgcad.geometry.images import decode_image
from pgcad.geometry.reading import Reading, read
from pgcad.geometry.units import MILLIMETRES

QUICK = settings(max_examples=150, deadline=None, derandomize=True, database=None)
BOX = trimesh.creation.box((1, 2, 3))
GOOD = {fmt: mesh_file(BOX, fmt) for fmt in MESHES} | {fmt: cloud_file(BOX.vertices, fmt) for fmt in CLOUDS}


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A format and a file of it in which a stretch is replaced by any other bytes.

    Not STEP: such files can crash OpenCASCADE itself, which only the worker pool can contain.
    """
    fmt = draw(st.sampled_from(sorted(GOOD)))
    data = GOOD[fmt]
    start = draw(st.integers(0, len(data)))
    return fmt, data[:start] + draw(st.binary(max_size=40)) + data[start + draw(st.integers(0, 40)) :]


@QUICK
@given(fmt=st.sampled_from(FORMATS), data=st.binary(max_size=400))
def test_any_bytes(fmt: str, data: bytes) -> None:
    reads_or_refuses(data, fmt, None)


@QUICK
@example(file=("npy", GOOD["npy"].replace(b"\x93NUMPY\x01\x00v\x00{", b"\x93NUMPY\x01\x00v\x00'{")), units=None)
@example(file=("obj", b"v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n"), units=None)
@given(file=damaged(), units=st.sampled_from([None, *MILLIMETRES]))
def test_any_damage(file: tuple[str, bytes], units: str | None) -> None:
    fmt, data = file
    reads_or_refuses(data, fmt, units)


@settings(QUICK, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=400), signature=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]))
def test_any_picture(data: bytes, signature: bytes) -> None:
    try:
        assert decode_image(signature + data).shape[2] == 3
    except CadError as error:
        assert error.sqlstate in ("22023", "54000")


def reads_or_refuses(data: bytes, fmt: str, units: str | None) -> None:
    try:
        reading = read(data, fmt, units)
    except CadError as error:
        assert error.sqlstate in ("22023", "54000") and error.hint
    else:
        assert isinstance(reading, Reading)
        assert np.isfinite(reading.points).all() and np.isfinite(reading.properties.size_mm).all()
