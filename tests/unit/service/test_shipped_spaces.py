"""The shipped weights behind the dispatcher: what is kept of a part is enough to make its vectors anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pgcad.encoders.space import CadSpace
from pgcad.encoders.text import passage
from pgcad.service.desk import Answer
from pgcad.service.inline import InlineBackend
from service_doubles.dispatched import ask

STEP = next((Path(__file__).parents[3] / "samples/parts").rglob("*.step")).read_bytes()
BREP = {"space": "brep", "dim": 512, "encoder": {"backend": "native", "tower": "brep"}}


@pytest.fixture(scope="module")
def backend() -> InlineBackend:
    return InlineBackend(CadSpace.load(device="cpu"))


@pytest.fixture(scope="module")
def analysed(backend: InlineBackend) -> Answer:
    return ask(backend, "analyse", {"format": "step", "metadata": {"name": "a part"}}, STEP)


def rows(payload: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(payload, "<f4").reshape(-1, 512)


def stored(analysed: Answer) -> tuple[dict[str, Any], list[bytes]]:
    report, (_, points, _, _, *views, _, graph) = analysed[0]["report"], analysed[1]
    said = {"text": passage(report), "described": not report["description_generated"]}
    return {**said, "views": 10, "points": True, "brep": True}, [*views, points, graph]


def test_a_stored_part_gets_the_vectors_of_its_analysis(backend: InlineBackend, analysed: Answer) -> None:
    part, files = stored(analysed)
    header, [made] = ask(backend, "embed_parts", {"parts": [part] * 2}, *files, *files)
    assert header["version"] == analysed[0]["version"]
    cosines = (rows(made).reshape(2, 15, 512) * rows(analysed[1][-2])).sum(2)
    assert cosines.min() > 0.999


def test_a_step_file_finds_its_part_in_the_brep_space(backend: InlineBackend, analysed: Answer) -> None:
    part, files = stored(analysed)
    header, [made] = ask(backend, "embed_parts", {**BREP, "parts": [part]}, *files)
    assert header["version"].startswith("brep-")
    assert header["rows"][0][:4] == ["text", "image", "shape", "fused"]
    question = rows(ask(backend, "embed_shape", {**BREP, "formats": ["step"]}, STEP)[1][0])[0]
    assert question @ rows(made)[2] > 0.999
    np.testing.assert_allclose(np.linalg.norm(rows(made), axis=1), 1, atol=1e-4)
