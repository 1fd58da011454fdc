"""How well parts agree with a picture, through an inline backend whose jobs are doubles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pgcad.errors import CadError
from pgcad.service.inline import InlineBackend
from pgcad.service.overlapping import COMPARED_AT_ONCE, MAX_COMPARED, REFINED_AT_ONCE
from pgcad.service.parts import MAX_PARTS
from service_doubles.dispatched import ask
from service_doubles.jobs import CountingJobs


def silhouettes(value: int) -> bytes:
    """The double reads agreement and camera from the first byte."""
    return bytes([value]) * (150 * 32 * 4)


def points(value: float) -> bytes:
    return np.full((2048, 6), value, np.float32).tobytes()


def test_each_part_has_its_agreement_and_cameras_in_order(backend: InlineBackend, counting: CountingJobs) -> None:
    parts = [silhouettes(number) for number in range(COMPARED_AT_ONCE + 2)]
    answer, bodies = ask(backend, "overlap", {}, b"picture", *parts)
    assert answer == {
        "fits": [number / 255 for number in range(COMPARED_AT_ONCE + 2)],
        "cameras": [[number] for number in range(COMPARED_AT_ONCE + 2)],
    }
    assert bodies == []
    assert counting.calls == [("outline", 1), ("overlaps", 1 + COMPARED_AT_ONCE), ("overlaps", 3)]


def test_refinement_has_the_cameras_of_each_part(backend: InlineBackend, counting: CountingJobs) -> None:
    count = REFINED_AT_ONCE + 2
    parts = [points(number) for number in range(count)]
    answer, _ = ask(backend, "refine_overlap", {"cameras": [[number] for number in range(count)]}, b"picture", *parts)
    assert answer["fits"] == pytest.approx([number * 1.001 for number in range(count)])
    assert counting.calls == [("outline", 1), ("refined_overlaps", 1 + REFINED_AT_ONCE), ("refined_overlaps", 3)]


def test_the_picture_is_looked_at_once(backend: InlineBackend, counting: CountingJobs) -> None:
    ask(backend, "overlap", {}, b"picture", silhouettes(1))
    ask(backend, "refine_overlap", {"cameras": [[1]]}, b"picture", points(1))
    assert [name for name, _ in counting.calls] == ["outline", "overlaps", "refined_overlaps"]


def test_without_a_plain_background_there_are_no_fits(backend: InlineBackend, counting: CountingJobs) -> None:
    assert ask(backend, "overlap", {}, b"busy", silhouettes(1)) == ({"fits": None, "cameras": None}, [])
    assert ask(backend, "refine_overlap", {"cameras": [[1]]}, b"busy", points(1)) == ({"fits": None}, [])
    assert [name for name, _ in counting.calls] == ["outline"]


@pytest.mark.parametrize(
    ("op", "header", "payloads"),
    [
        ("overlap", {}, []),
        ("overlap", {}, [b"picture", b"no silhouettes"]),
        ("overlap", {}, [b"picture", *[silhouettes(1)] * (MAX_COMPARED + 1)]),
        ("refine_overlap", {"cameras": []}, []),
        ("refine_overlap", {"cameras": [[1]]}, [b"picture", b"no points"]),
        ("refine_overlap", {"cameras": [[1]] * (MAX_PARTS + 1)}, [b"picture", *[points(1)] * (MAX_PARTS + 1)]),
        *(("refine_overlap", {"cameras": wrong}, [b"picture", points(1)])
          for wrong in (None, [], [[]], [1], [[1], [2]], [["1"]], [[True]], [[-1]], [[300]], [[0.5]])),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(
    backend: InlineBackend, op: str, header: dict[str, Any], payloads: list[bytes]
) -> None:
    with pytest.raises(CadError) as refusal:
        ask(backend, op, header, *payloads)
    assert refusal.value.sqlstate == "22023"
