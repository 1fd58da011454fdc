"""How well parts fit a file or a cloud, through an inline backend whose jobs are doubles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pgcad.errors import CadError
from pgcad.service.fitting import PARTS_AT_ONCE
from pgcad.service.inline import InlineBackend
from pgcad.service.parts import MAX_PARTS
from service_doubles.dispatched import ask
from service_doubles.jobs import CountingJobs


def points(value: float) -> bytes:
    """The double reads a file as points that all are its length."""
    return np.full((2048, 6), value, np.float32).tobytes()


def test_each_part_has_its_fit_in_order(backend: InlineBackend, counting: CountingJobs) -> None:
    parts = [points(5 + number) for number in range(PARTS_AT_ONCE + 2)]
    answer, bodies = ask(backend, "fit", {"format": "stl"}, b"five!", *parts)
    assert answer["fits"] == pytest.approx([1 / (1 + number) for number in range(PARTS_AT_ONCE + 2)])
    assert bodies == []
    assert counting.calls == [("shape_points", 1), ("fits", 1 + PARTS_AT_ONCE), ("fits", 3)]


def test_a_file_that_was_searched_with_is_not_read_again(backend: InlineBackend, counting: CountingJobs) -> None:
    ask(backend, "embed_shape", {"formats": ["stl"]}, b"five!")
    ask(backend, "fit", {"format": "stl"}, b"five!", points(5))
    ask(backend, "embed_points", {}, b"a cloud")
    ask(backend, "fit", {}, b"a cloud", points(7))
    assert [name for name, _ in counting.calls] == ["shape_points", "fits", "cloud_points", "fits"]


def test_a_step_file_is_read_once_for_its_faces_and_its_points(backend: InlineBackend, counting: CountingJobs) -> None:
    for _ in range(2):
        ask(backend, "embed_multi", {"shape": True, "format": "step"}, b"five!")
    ask(backend, "fit", {"format": "step"}, b"five!", points(5))
    assert [name for name, _ in counting.calls] == ["shape_brep", "fits"]


def test_the_same_bytes_in_another_format_are_another_file(backend: InlineBackend, counting: CountingJobs) -> None:
    for header in ({"format": "stl"}, {"format": "ply"}, {}):
        ask(backend, "fit", header, b"five!", points(5))
    assert [name for name, _ in counting.calls if name != "fits"] == ["shape_points", "shape_points", "cloud_points"]


def test_without_parts_there_are_no_fits(backend: InlineBackend) -> None:
    assert ask(backend, "fit", {"format": "stl"}, b"five!") == ({"fits": []}, [])


@pytest.mark.parametrize(
    ("header", "payloads"),
    [
        ({"format": "stl"}, []),
        ({"format": 3}, [b"five!", points(1)]),
        ({"format": "stl"}, [b"five!", b"no points"]),
        ({"format": "stl"}, [b"five!", *[b""] * (MAX_PARTS + 1)]),
    ],
)
def test_what_is_malformed_is_refused(backend: InlineBackend, header: dict[str, Any], payloads: list[bytes]) -> None:
    with pytest.raises(CadError) as refusal:
        ask(backend, "fit", header, *payloads)
    assert refusal.value.sqlstate == "22023"
