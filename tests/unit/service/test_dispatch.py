"""What operations answer, through an inline backend around the tiny space."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from pgcad.encoders.text import passage
from pgcad.errors import CadError
from pgcad.geometry import limits
from pgcad.geometry.brep_graph import pack_graph
from pgcad.service import dispatch as dispatcher
from pgcad.service.desk import Answer
from pgcad.service.inline import InlineBackend
from service_doubles import jobs
from service_doubles.space import DIM, TinySpace, vector_of

GRAPH = pack_graph(jobs.graph_of_areas(1.0, 2.0))
CLOUD = np.zeros((2048, 6), np.float32).tobytes()
BREP = {"space": "brep", "dim": DIM, "encoder": {"backend": "native", "tower": "brep"}}


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


def rows(answer: Answer, payload: int = -1) -> np.ndarray[Any, Any]:
    return np.frombuffer(answer[1][payload], "<f4").reshape(-1, DIM)


def test_repeated_texts_come_from_the_cache(backend: InlineBackend, space: TinySpace) -> None:
    header = {"texts": ["nut", "bolt", "nut"]}
    answer = ask(backend, "embed_text", header)
    assert (answer[0]["n"], answer[0]["dim"], answer[0]["version"]) == (3, DIM, "cad-tiny")
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
    assert answer[0]["rows"] == ["text", "image", "shape", "brep", "fused"]
    text, image, shape, brep, fused = rows(answer)
    np.testing.assert_array_equal(brep, vector_of(jobs.graph_of_areas(4.0).area_mm2.tobytes()))
    np.testing.assert_allclose(fused, backend.default.encoder.fuse(text, image, shape, brep), rtol=1e-6)
    without_text = ask(backend, "embed_multi", {"image": False, "shape": True, "format": "stp"}, b"file")
    assert without_text[0]["rows"] == ["shape", "brep", "fused"]
    np.testing.assert_array_equal(rows(without_text)[:2], [shape, brep])
    mesh = ask(backend, "embed_multi", {"image": False, "shape": True, "format": "stl"}, b"file")
    assert mesh[0]["rows"] == ["shape", "fused"]


def test_an_analysis_carries_fifteen_vectors_after_the_artifacts(backend: InlineBackend) -> None:
    header, payloads = ask(backend, "analyse", {"format": "step"}, b"part")
    assert header["report"]["name"] == "part"
    assert (payloads[0], payloads[2]) == (b"mesh", b"silhouettes")
    assert len(payloads) == 1 + 1 + 1 + 1 + 10 + 1 + 1
    matrix = rows((header, payloads), -2)
    assert matrix.shape == (15, DIM)
    assert not matrix[3].any()  # it has no B-rep
    views = matrix[5:].mean(axis=0)
    np.testing.assert_allclose(matrix[1], views / np.linalg.norm(views), rtol=1e-5)


def test_a_boundary_representation_counts_in_the_fused_vector_and_is_kept(backend: InlineBackend) -> None:
    answer = ask(backend, "analyse", {"format": "step"}, b"with brep")
    text, image, shape, brep, fused = rows(answer, -2)[:5]
    assert answer[1][-1] == GRAPH
    assert ask(backend, "analyse", {"format": "step"}, b"without")[1][-1] == b""
    np.testing.assert_array_equal(brep, vector_of(jobs.graph_of_areas(1.0, 2.0).area_mm2.tobytes()))
    np.testing.assert_allclose(fused, backend.default.encoder.fuse(text, image, shape, brep), rtol=1e-6)
    assert not np.allclose(fused, backend.default.encoder.fuse(text, image, shape))


def test_stored_parts_get_the_vectors_that_their_analysis_made(backend: InlineBackend) -> None:
    header, payloads = ask(backend, "analyse", {"format": "step"}, b"with brep")
    analysed = rows((header, payloads), -2)
    _, points, _, _, *views = payloads[:14]
    text, described = passage(header["report"]), not header["report"]["description_generated"]
    part = {"text": text, "described": described, "views": 10, "points": True, "brep": True}
    again = ask(backend, "embed_parts", {"parts": [part, {}, part]}, *[*views, points, GRAPH] * 2)
    names = ["text", "image", "shape", "brep", "fused", *(f"view {number}" for number in range(10))]
    assert again[0] == {"version": "cad-tiny", "dim": DIM, "rows": [names, [], names]}
    np.testing.assert_allclose(rows(again), np.vstack([analysed, analysed]), rtol=1e-5)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"name": "hex nut"}, b"hex nut"),
        ({"name": "4-711 B"}, None),
        ({"name": "\u87ba\u6bcd 8"}, "\u87ba\u6bcd 8".encode()),
    ],
)
def test_what_nobody_said_of_a_part_is_supposed(
    backend: InlineBackend, metadata: dict[str, str], said: bytes | None
) -> None:
    answer = ask(backend, "analyse", {"format": "step", "metadata": metadata}, b"with brep")
    text, image, shape, brep, fused = rows(answer, -2)[:5]
    supposed = backend.default.encoder.suppose_text(image, shape, None)
    assert supposed is not None
    expected = supposed if said is None else supposed + vector_of(said)
    np.testing.assert_allclose(text, expected / np.linalg.norm(expected), rtol=1e-5)
    np.testing.assert_allclose(fused, backend.default.encoder.fuse(text, image, shape, brep), rtol=1e-5)


def test_a_described_part_is_what_was_said_of_it(backend: InlineBackend) -> None:
    header = {"format": "step", "metadata": {"name": "N-8", "description": "a nut"}}
    answer = ask(backend, "analyse", header, b"part")
    np.testing.assert_allclose(rows(answer, -2)[0], vector_of(passage(answer[0]["report"]).encode()), rtol=1e-5)


def test_where_nothing_is_said_and_nothing_supposed_there_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = InlineBackend(TinySpace(supposes=False))
    monkeypatch.setattr(backend, "_jobs", jobs.JOBS)
    header = {"format": "step", "metadata": {"name": "4-711 B"}}
    text, image, shape, _, fused = rows(ask(backend, "analyse", header, b"part"), -2)[:5]
    assert not text.any()
    np.testing.assert_allclose(fused, backend.default.encoder.fuse(None, image, shape), rtol=1e-5)


def test_of_a_part_only_what_is_known_is_embedded(backend: InlineBackend, space: TinySpace) -> None:
    parts = [{"text": "nut"}, {"text": "", "points": True}, {"text": None, "brep": True}]
    answer = ask(backend, "embed_parts", {"parts": parts}, CLOUD, GRAPH)
    assert answer[0]["rows"] == [["text", "fused"], ["shape", "fused"], ["brep", "fused"]]
    np.testing.assert_array_equal(rows(answer)[0], vector_of(b"nut"))


def test_the_brep_tower_is_a_space_of_its_own(backend: InlineBackend) -> None:
    brep = vector_of(jobs.graph_of_areas(1.0, 2.0).area_mm2.tobytes())
    parts = [{"text": "nut", "points": True, "brep": True}, {"points": True}]
    answer = ask(backend, "embed_parts", {**BREP, "parts": parts}, CLOUD, GRAPH, CLOUD)
    assert answer[0]["version"] == "brep-tiny"
    assert answer[0]["rows"] == [["text", "shape", "fused"], []]
    np.testing.assert_array_equal(rows(answer)[1], brep)
    fused = backend.default.encoder.fuse(text=vector_of(b"nut"), brep=brep)
    np.testing.assert_allclose(rows(answer)[2], fused, rtol=1e-6)
    shape = ask(backend, "embed_shape", {**BREP, "formats": ["step"]}, b"3mm")
    np.testing.assert_array_equal(rows(shape)[0], vector_of(jobs.graph_of_areas(3.0).area_mm2.tobytes()))
    assert backend.health()["spaces"].keys() == {"brep", "cad"}
    with pytest.raises(CadError, match="takes no point clouds") as refused:
        ask(backend, "embed_points", BREP, CLOUD)
    assert (refused.value.sqlstate, "cad" in refused.value.hint) == ("0A000", True)


class PicturesOnly(TinySpace):
    version, modalities = "pictures-1", frozenset({"image"})


def test_a_space_of_pictures_knows_shapes_by_their_ten_views(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = InlineBackend(PicturesOnly())
    monkeypatch.setattr(backend, "_jobs", jobs.JOBS)
    view = vector_of(jobs.VIEW_PIXELS[:48])
    drawn = ask(backend, "embed_shape", {"formats": ["step", "stl"]}, b"one", b"two")
    np.testing.assert_allclose(rows(drawn), [view, view], rtol=1e-5)
    parts = [{"text": "nut", "views": 2, "points": True, "brep": True}]
    answer = ask(backend, "embed_parts", {"parts": parts}, b"view", b"view", CLOUD, GRAPH)
    assert answer[0]["rows"] == [["image", "shape", "fused", "view 0", "view 1"]]
    np.testing.assert_allclose(rows(answer), [view] * 5, rtol=1e-5)
    with pytest.raises(CadError, match="takes no texts"):
        ask(backend, "embed_text", {"texts": ["nut"]})


def test_vectors_that_cancel_out_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opposite(PicturesOnly):
        def embed(self, kind: str, items: Any) -> Any:
            return np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)

    backend = InlineBackend(Opposite())
    monkeypatch.setattr(backend, "_jobs", jobs.JOBS)
    with pytest.raises(CadError) as refused:
        ask(backend, "embed_parts", {"parts": [{"views": 2}]}, b"view", b"view")
    assert refused.value.sqlstate == "22000"


@pytest.mark.parametrize(
    ("header", "payloads", "sqlstate", "says"),
    [
        ({"parts": {}}, [], "22023", "list of objects"),
        ({"parts": [7]}, [], "22023", "list of objects"),
        ({"parts": [{"text": 7}]}, [], "22023", "text or null"),
        ({"parts": [{"views": -1}]}, [], "22023", "number of views"),
        ({"parts": [{"views": True}]}, [b"view"], "22023", "number of views"),
        ({"parts": [{}] * 65}, [], "54000", "the limit is 64"),
        ({"parts": [{"views": 2}]}, [b"view"], "22023", "announces 2 payloads, and 1 came"),
        ({"parts": [{"points": True}]}, [b"view"], "22023", "are not float32"),
        ({"parts": [{"brep": True}]}, [b"PK"], "22023", "not a packed B-rep"),
        ({"parts": [{"text": "nut"}]}, [b"view"], "22023", "announces 0 payloads, and 1 came"),
    ],
)
def test_malformed_parts_are_refused(
    backend: InlineBackend, header: dict[str, Any], payloads: list[bytes], sqlstate: str, says: str
) -> None:
    with pytest.raises(CadError, match=says) as refused:
        ask(backend, "embed_parts", header, *payloads)
    assert refused.value.sqlstate == sqlstate


@pytest.mark.parametrize(
    ("header", "sqlstate", "says"),
    [
        ({"space": 7}, "22023", "a space has a name"),
        ({"space": "x", "encoder": "cad"}, "22023", "must be an object"),
        ({"space": "x", "dim": DIM, "encoder": {"backend": "psychic"}}, "22023", "unknown backend 'psychic'"),
        ({"space": "x", "dim": DIM, "encoder": {"backend": "external"}}, "0A000", "made elsewhere"),
        ({"space": "x", "dim": DIM, "encoder": {"backend": "native", "tower": "smell"}}, "22023", "tower cannot be"),
        ({**BREP, "encoder": {**BREP["encoder"], "x": 1}}, "22023", "has no 'x'"),  # type: ignore[dict-item]
        ({**BREP, "dim": 768}, "22023", "768 dimensions.*of 512"),
        ({**BREP, "dim": None}, "22023", "dim cannot be None"),
        ({**BREP, "dim": True}, "22023", "dim cannot be True"),
        ({**BREP, "dim": 5000}, "22023", "dim cannot be 5000"),
    ],
)
def test_an_encoder_that_makes_no_sense_is_refused(
    backend: InlineBackend, header: dict[str, Any], sqlstate: str, says: str
) -> None:
    with pytest.raises(CadError, match=says) as refused:
        ask(backend, "embed_text", {**header, "texts": ["nut"]})
    assert refused.value.sqlstate == sqlstate


def test_parts_are_read_for_the_default_space_alone(backend: InlineBackend) -> None:
    with pytest.raises(CadError, match="read for the space 'cad'") as refused:
        ask(backend, "analyse", {**BREP, "format": "step"}, b"part")
    assert refused.value.sqlstate == "0A000"


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
