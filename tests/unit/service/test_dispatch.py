"""What operations answer, through an inline backend around the tiny space."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from pgcad.errors import CadError
from pgcad.geometry import limits
from pgcad.service import dispatch as dispatcher
from pgcad.service.dispatch import Answer, InlineBackend
from service_doubles import jobs
from service_doubles.space import DIM, TinySpace, vector_of


@pytest.fixture
def space() -> TinySpace:
    return TinySpace()


@pytest.fixture
def backend(space: TinySpace, monkeypatch: pytest.MonkeyPatch) -> InlineBackend:
    backend = InlineBackend(space)
    monkeypatch.setattr(backend, "_jobs", jobs.JOBS)
    return backend


def ask(backend: InlineBackend, op: str, header: dict[str, Any], *payloads: bytes) -> Answer:
    return asyncio.run(dispatcher.dispatch(op, header, list(payloads), backend))


def rows(answer: Answer) -> np.ndarray[Any, Any]:
    return np.frombuffer(answer[1][-1], "<f4").reshape(-1, DIM)


def test_repeated_texts_come_from_the_cache(backend: InlineBackend, space: TinySpace) -> None:
    header = {"texts": ["nut", "bolt", "nut"]}
    answer = ask(backend, "embed_text", header)
    assert (answer[0]["n"], answer[0]["dim"], answer[0]["version"]) == (3, DIM, "tiny-1")
    np.testing.assert_array_equal(rows(answer), [vector_of(text.encode()) for text in header["texts"]])
    assert ask(backend, "embed_text", header)[1] == answer[1]
    assert space.batches == [2]
    ask(backend, "embed_text", {**header, "role": "passage"})
    assert space.batches == [2, 2]


def test_a_large_request_is_worked_on_in_chunks(backend: InlineBackend, space: TinySpace) -> None:
    texts = [f"part {number}" for number in range(2 * dispatcher.CHUNK + 1)]
    answer = ask(backend, "embed_text", {"texts": texts})
    assert space.batches == [dispatcher.CHUNK, dispatcher.CHUNK, 1]
    np.testing.assert_array_equal(rows(answer), [vector_of(text.encode()) for text in texts])


def test_a_query_of_several_parts_names_its_rows(backend: InlineBackend) -> None:
    header = {"text": "nut", "image": True, "shape": True, "format": "step"}
    answer = ask(backend, "embed_multi", header, b"picture", b"file")
    assert answer[0]["rows"] == ["text", "image", "shape", "fused"]
    text, image, shape, fused = rows(answer)
    np.testing.assert_allclose(fused, backend.space.fuse(text, image, shape), rtol=1e-6)
    without_text = ask(backend, "embed_multi", {"image": False, "shape": True, "format": "step"}, b"file")
    assert without_text[0]["rows"] == ["shape", "fused"]
    np.testing.assert_array_equal(rows(without_text)[0], shape)


def test_an_analysis_carries_fourteen_vectors_after_the_artifacts(backend: InlineBackend) -> None:
    header, payloads = ask(backend, "analyse", {"format": "step"}, b"part")
    assert header["report"]["name"] == "part"
    assert payloads[0] == b"mesh"
    assert len(payloads) == 1 + 1 + 1 + 10 + 1
    matrix = rows((header, payloads))
    assert matrix.shape == (14, DIM)
    views = matrix[4:].mean(axis=0)
    np.testing.assert_allclose(matrix[1], views / np.linalg.norm(views), rtol=1e-5)


def test_a_boundary_representation_counts_in_the_fused_vector(backend: InlineBackend) -> None:
    text, image, shape, fused = rows(ask(backend, "analyse", {"format": "step"}, b"with brep"))[:4]
    brep = vector_of(jobs.graph_of_areas(1.0, 2.0).area_mm2.tobytes())
    np.testing.assert_allclose(fused, backend.space.fuse(text, image, shape, brep), rtol=1e-6)
    assert not np.allclose(fused, backend.space.fuse(text, image, shape))


@pytest.mark.parametrize(
    ("op", "header", "sqlstate"),
    [
        ("embed_smell", {}, "0A000"),
        ("embed_text", {"space": "other", "texts": []}, "22023"),
        ("embed_text", {"texts": "nut"}, "22023"),
        ("embed_text", {"texts": [1]}, "22023"),
        ("embed_text", {"texts": ["nut"], "role": "poem"}, "22023"),
        ("embed_shape", {"formats": ["step", "stl"]}, "22023"),
        ("embed_shape", {"formats": [7]}, "22023"),
        ("embed_multi", {"image": False}, "22023"),
        ("embed_multi", {"image": True, "shape": True}, "22023"),
        ("analyse", {}, "22023"),
        ("analyse", {"format": "step", "metadata": []}, "22023"),
    ],
)
def test_wrong_arguments_are_refused(backend: InlineBackend, op: str, header: dict[str, Any], sqlstate: str) -> None:
    with pytest.raises(CadError) as refused:
        ask(backend, op, header, b"one file")
    assert refused.value.sqlstate == sqlstate


@pytest.mark.parametrize(
    ("op", "header"),
    [
        ("analyse", {"format": "step"}),
        ("embed_shape", {"formats": ["step"]}),
        ("embed_image", {}),
        ("embed_points", {}),
        ("embed_multi", {"shape": True, "format": "step"}),
    ],
)
def test_a_file_over_the_limit_never_reaches_a_worker(
    backend: InlineBackend, monkeypatch: pytest.MonkeyPatch, op: str, header: dict[str, Any]
) -> None:
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 7)
    monkeypatch.setattr(backend, "_jobs", {})
    with pytest.raises(CadError, match="8 bytes; the limit is 7") as refused:
        ask(backend, op, header, b"one file")
    assert refused.value.sqlstate == "54000" and refused.value.hint


def test_a_backend_without_memory_says_so(backend: InlineBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Answer:
        raise MemoryError

    monkeypatch.setattr(backend, "_jobs", {"analyse": fail})
    with pytest.raises(CadError) as failed:
        ask(backend, "analyse", {"format": "step"}, b"one file")
    assert failed.value.sqlstate == "53200" and failed.value.hint
