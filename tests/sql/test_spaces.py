"""Spaces beside the default one: what may be added, whose encoder is asked, and searching in one of them or several."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import insert, random_part, unit_vector
from pgvector import Vector
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService, vector

Connection = psycopg.Connection[Any]

CLIP = {"architecture": "ViT-B-32", "checkpoint": "small/clip.safetensors"}
HTTP = {
    "dialect": "openai",
    "url": "https://models.example/v1/embeddings",
    "model": "m",
    "modalities": ["text", "image"],
}


def add(db: Connection, name: str, dim: int, backend: str = "external", encoder: Any = None) -> None:
    db.execute("select cad.add_space(%s, %s, %s, %s)", [name, dim, backend, Jsonb(encoder or {})])


def queue(db: Connection, *contents: bytes, **metadata: object) -> None:
    for content in contents:
        db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata) values (%s, 'step', %s, %s)",
            [content.decode(), content, Jsonb(metadata)],
        )


def asked(scripted: ScriptedService, op: str) -> list[dict[str, Any]]:
    """Headers of the requests of that operation."""
    return [header for header in scripted.headers if header["op"] == op]


# --- adding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "dim", "encoder"),
    [
        ("external", 3, {}),
        ("native", 512, {"tower": "brep"}),
        ("open_clip", 512, CLIP),
        ("http", 1024, HTTP),
        (
            "http",
            8,
            {
                **HTTP, "dialect": "dashscope", "key_env": "PGCAD_KEY_MINE", "batch": 16, "requests_per_minute": 600,
                "timeout_s": 20, "retries": 3, "modalities": ["text"],
            },
        ),
        ("http", 8, {**HTTP, "url": "http://127.0.0.1:8000/v1", "key_env": "PGCAD_KEY_MINE"}),
        ("http", 8, {**HTTP, "url": "http://models.internal/v1?api-version=2026-01"}),
    ],
)  # fmt: skip
def test_a_space_of_each_backend(db: Connection, backend: str, dim: int, encoder: dict[str, Any]) -> None:
    add(db, "mine", dim, backend, encoder)
    assert db.execute(
        "select dim, backend, encoder, encoder_version, vectors = 'cad.space_mine'::regclass,"
        " views = 'cad.space_mine_view'::regclass from cad.space where name = 'mine'"
    ).fetchone() == (dim, backend, encoder, None, True, True)
    assert db.execute("select count(*) from cad.space_mine, cad.space_mine_view").fetchone() == (0,)


@pytest.mark.parametrize(
    ("backend", "dim", "encoder", "wrong", "right"),
    [
        ("faiss", 3, {}, "there is no backend 'faiss'", "native, open_clip, http, external"),
        ("external", 3, [], "must be a JSON object, not array", "external"),
        ("external", 3, {"url": "x"}, "has no key url", "leave the encoder out"),
        ("native", 512, {}, "needs the key tower", "brep"),
        ("native", 512, {"tower": "cad"}, "encoder.tower cannot be cad", "brep"),
        ("native", 256, {"tower": "brep"}, "has 512 dimensions, not 256", "512"),
        ("open_clip", 512, {"architecture": "ViT-B-32"}, "needs the key checkpoint", ".safetensors"),
        ("open_clip", 512, {**CLIP, "checkpoint": "../secret.pt"}, "checkpoint cannot be", "below the folder"),
        ("open_clip", 512, {**CLIP, "checkpoint": "/etc/secret.pt"}, "checkpoint cannot be", "below the folder"),
        ("open_clip", 512, {**CLIP, "checkpoint": "a/../../b.pt"}, "checkpoint cannot be", "below the folder"),
        ("open_clip", 512, {**CLIP, "checkpoint": "model.pickle"}, "checkpoint cannot be", "below the folder"),
        ("open_clip", 512, {**CLIP, "architecture": 32}, "architecture cannot be 32", "ViT-B-32"),
        ("http", 8, {**HTTP, "key": "secret"}, "has no key key", "key_env"),
        ("http", 8, {**HTTP, "key_env": "HOME"}, "key_env cannot be HOME", "PGCAD_KEY_"),
        ("http", 8, {**HTTP, "url": "file:///etc/passwd"}, "url cannot be", "https://"),
        ("http", 8, {**HTTP, "url": "https://me:secret@host/v1"}, "url cannot be", "without a name or a key"),
        ("http", 8, {**HTTP, "url": "https://host/v1?key=secret"}, "url cannot be", "without a name or a key"),
        ("http", 8, {**HTTP, "url": "http://host/v1", "key_env": "PGCAD_KEY_A"}, "unencrypted", "https://"),
        ("http", 8, {**HTTP, "dialect": "soap"}, "dialect cannot be soap", "dashscope"),
        ("http", 8, {**HTTP, "modalities": []}, "modalities cannot be", "image"),
        ("http", 8, {**HTTP, "modalities": ["shape"]}, "modalities cannot be", "image"),
        ("http", 8, {**HTTP, "batch": 0}, "batch cannot be 0", "256"),
        ("http", 8, {**HTTP, "batch": 1.5}, "batch cannot be 1.5", "whole"),
        ("http", 8, {**HTTP, "timeout_s": 0}, "timeout_s cannot be 0", "600"),
        ("http", 8, {**HTTP, "retries": -1}, "retries cannot be -1", "10"),
        ("http", 8, {**HTTP, "requests_per_minute": "many"}, "requests_per_minute cannot be many", "1000000"),
    ],
)
def test_a_bad_encoder_is_refused(db: Connection, backend: str, dim: int, encoder: Any, wrong: str, right: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as failure:
        db.execute("select cad.add_space('mine', %s, %s, %s)", [dim, backend, Jsonb(encoder)])
    assert wrong in (failure.value.diag.message_primary or "")
    assert right in (failure.value.diag.message_hint or "")
    assert db.execute("select to_regclass('cad.space_mine')").fetchone() == (None,)


# --- the encoder of a space ---------------------------------------------------------------------------------------


def test_every_embedding_function_asks_the_encoder_of_its_space(db: Connection, scripted: ScriptedService) -> None:
    add(db, "clip", 4, "open_clip", CLIP)
    for call in (
        "cad.embed_text('bolt', space => 'clip')",
        "cad.embed_image('picture', space => 'clip')",
        "cad.embed_points('{{1,2,3}}', space => 'clip')",
        "cad.embed_shape('file', 'step', space => 'clip')",
        "embedding from cad.embed_texts('{bolt}', space => 'clip')",
        "embedding from cad.embed_images(array['picture'::bytea], space => 'clip')",
        "fused_vec from cad._encode('clip', 'bolt')",
    ):
        [(literal,)] = db.execute(f"select {call}").fetchall()
        assert len(json.loads(literal)) == 4, call
        header = scripted.headers[-1]
        assert (header["space"], header["dim"]) == ("clip", 4)
        assert header["encoder"] == {"backend": "open_clip", **CLIP}
    db.execute("select cad.embed_text('bolt')")
    assert "encoder" not in scripted.headers[-1]
    assert json.loads(db.execute("select cad.embed_text('bolt')").fetchone()[0]) == pytest.approx(  # type: ignore[index]
        struct.unpack("<512f", vector(b"bolt")), abs=1e-3
    )


@pytest.mark.parametrize("space", ["cad", "clip"])
def test_nobody_else_chooses_the_encoder(db: Connection, scripted: ScriptedService, space: str) -> None:
    """Else whoever may ask for a vector could send the service, and the keys it holds, to any address."""
    add(db, "clip", 4, "open_clip", CLIP)
    forged = {"space": space, "texts": ["x"], "role": "query", "encoder": {"backend": "http", "url": "http://evil"}}
    db.execute("select cad._request('embed_text', %s, '{}')", [Jsonb(forged)])
    assert scripted.headers[-1].get("encoder") == (None if space == "cad" else {"backend": "open_clip", **CLIP})


@pytest.mark.parametrize(
    "call",
    [
        "select cad.embed_text('bolt', space => 'mine')",
        "select * from cad.search_cad('bolt', options => '{\"space\": \"mine\"}')",
        "call cad.reembed('mine')",
    ],
)
def test_an_external_space_has_no_encoder(db: Connection, scripted: ScriptedService, call: str) -> None:
    add(db, "mine", 3)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="its vectors are imported") as failure:
        db.execute(call)
    assert "import-vectors" in (failure.value.diag.message_hint or "")
    assert scripted.headers == []


def test_an_unknown_space_is_refused_before_the_service_is_asked(db: Connection, scripted: ScriptedService) -> None:
    for call in (
        "select cad.embed_text('bolt', space => 'nope')",
        "call cad.reembed('nope')",
        "call cad.reembed(null)",
    ):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="there is no space") as failure:
            db.execute(call)
        assert failure.value.diag.message_hint == "Known spaces: cad."
    assert scripted.headers == []


# --- searching ----------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(db: Connection, scripted: ScriptedService) -> Connection:
    """Six parts with vectors in the default space and in one of four dimensions, a seventh in the default one only."""
    queue(db, *(b"part %d" % number for number in range(6)), description="a box")
    db.execute("call cad.ingest_pending()")
    add(db, "clip", 4, "open_clip", CLIP)
    db.execute("call cad.reembed('clip')")
    queue(db, b"late")
    db.execute("call cad.ingest_pending()")
    return db


def test_a_search_in_an_added_space(clip: Connection, scripted: ScriptedService) -> None:
    options = Jsonb({"space": "clip", "against": "text"})
    found = clip.execute("select name, score from cad.search_cad('part 3. a box. 盒子', 7, options => %s)", [options])
    first, *others = found.fetchall()
    assert first == ("part 3", pytest.approx(1, abs=2e-3))
    assert dict(others)["late"] == 0  # it has no vectors there
    assert asked(scripted, "embed_multi")[-1]["encoder"] == {"backend": "open_clip", **CLIP}


def test_words_find_a_part_that_the_space_does_not_have(clip: Connection) -> None:
    weights = Jsonb({"space": "clip", "weights": {"text": 0, "image": 0, "shape": 0, "lexical": 1}})
    assert clip.execute("select name from cad.search_cad('late', 1, options => %s)", [weights]).fetchone() == ("late",)


@pytest.mark.parametrize("against", ["fused", "text", "image", "shape", "brep"])
@pytest.mark.parametrize("strategy", ["exact", "hnsw"])
def test_a_space_may_lack_modalities(clip: Connection, against: str, strategy: str) -> None:
    """A picture encoder makes no shape vectors: the fused ones stand in."""
    assert clip.execute("select count(shape_vec), count(image_vec) from cad.space_clip").fetchone() == (0, 6)
    options = Jsonb({"space": "clip", "against": against, "strategy": strategy})
    for call in (
        "cad.search_cad('bolt', 7, options => %s)",
        "cad.search_cad_image('picture', 7, options => %s)",
        "cad.search_cad_like((select model_id from cad.model where name = 'part 1'), 6, options => %s)",
        "cad.search_cad_vector('clip', '[1,2,3,4]', 7, options => %s)",
    ):
        names = [name for (name,) in clip.execute(f"select name from {call}", [options])]
        assert len(names) == len(set(names)) == (6 if "like" in call else 7), call
        stand_in = Jsonb({"space": "clip", "against": "fused" if against in ("shape", "brep") else against})
        assert names == [name for (name,) in clip.execute(f"select name from {call}", [stand_in])], call


def test_like_says_where_a_part_has_no_vectors(clip: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="with vectors in space clip"):
        clip.execute(
            "select * from cad.search_cad_like((select model_id from cad.model where name = 'late'), options => %s)",
            [Jsonb({"space": "clip"})],
        )


def reciprocal_ranks(lists: list[list[str]]) -> dict[str, float]:
    """Reciprocal rank fusion, said once more in Python; 1 for who is first everywhere."""
    scores: dict[str, float] = {}
    for names in lists:
        for rank, name in enumerate(names, 1):
            scores[name] = scores.get(name, 0) + 61 / (60 + rank) / len(lists)
    return scores


def test_results_of_two_spaces_are_fused_by_reciprocal_rank(clip: Connection) -> None:
    search = "select name, score, text_score from cad.search_cad('some words', 7, options => %s)"
    alone = {space: clip.execute(search, [Jsonb({"space": space})]).fetchall() for space in ("cad", "clip")}
    lists = [[name for name, score, _ in rows if score != 0] for rows in alone.values()]
    assert len(lists[0]) == 7 and len(lists[1]) == 6
    expected = reciprocal_ranks(lists)
    fused = clip.execute(search, [Jsonb({"space": ["cad", "clip"]})]).fetchall()
    assert {name: score for name, score, _ in fused} == pytest.approx(expected, abs=1e-6)
    assert [score for _, score, _ in fused] == sorted((score for _, score, _ in fused), reverse=True)
    for space in ("cad", "clip"):
        order = Jsonb({"space": [space, "clip" if space == "cad" else "cad"]})
        scores = {name: text_score for name, _, text_score in clip.execute(search, [order])}
        assert scores == {name: text_score for name, _, text_score in alone[space]}


def test_a_hit_far_down_in_the_first_space_still_tells_its_scores_there(db: Connection) -> None:
    rng = np.random.default_rng(3)
    parts = [random_part(rng, number) for number in range(150)]
    ids = insert(db, parts)
    add(db, "mine", 512)
    probe = unit_vector(rng)
    last = min(parts, key=lambda part: float(part.vectors["fused"] @ probe))  # type: ignore[operator]
    db.execute("update cad.space set encoder_version = 'mine' where name = 'mine'")
    db.execute(
        "insert into cad.space_mine (model_id, family, fused_vec, encoder_version) values (%s, %s, %s, 'mine')",
        [ids[last.number], last.family, Vector(probe).to_text()],
    )
    found = db.execute(
        "select * from cad._search_spaces(3, '{}', %s, null, null, null, null, null, null, %s::vector)",
        [Jsonb({"space": ["cad", "mine"], "strategy": "auto", "against": "shape"}), Vector(probe).to_text()],
    ).fetchone()
    assert found is not None
    rows = db.execute("select part_number, shape_score from unnest(%s::cad.hit[])", [found[0]]).fetchall()
    assert dict(rows)[last.number] == pytest.approx(float(last.vectors["shape"] @ probe), abs=2e-3)  # type: ignore[operator]


def test_a_part_number_comes_first_in_a_fused_search(clip: Connection) -> None:
    clip.execute("update cad.model set part_number = 'X-77' where name = 'late'")
    found = clip.execute(
        "select name, score from cad.search_cad('x-77', 3, options => %s)", [Jsonb({"space": ["clip", "cad"]})]
    )
    assert found.fetchone() == ("late", 1)


def test_a_fused_search_is_never_short_and_keeps_its_filters(clip: Connection) -> None:
    options = Jsonb({"space": ["clip", "cad"]})
    for k in (1, 5, 7, 100):
        rows = clip.execute("select rank from cad.search_cad('part', %s, options => %s)", [k, options]).fetchall()
        assert [rank for (rank,) in rows] == list(range(1, min(k, 7) + 1))
    clip.execute("update cad.model set family = 'bolts' where name in ('part 1', 'late')")
    found = clip.execute("select name from cad.search_cad('part', 9, 'bolts', options => %s)", [options]).fetchall()
    assert {name for (name,) in found} == {"part 1", "late"}
    floor = Jsonb({"space": ["clip", "cad"], "min_score": 0.99})
    short = clip.execute("select score from cad.search_cad('part', 9, options => %s)", [floor]).fetchall()
    assert len(short) < 7
    assert all(score >= 0.99 for (score,) in short)


def test_explain_shows_the_stages_of_each_space(clip: Connection) -> None:
    rows = clip.execute(
        "select detail ->> 'space', stage from cad.explain_search('part', options => %s)",
        [Jsonb({"space": ["cad", "clip"]})],
    ).fetchall()
    stages = ["encode", "plan", "exact", "lexical", "rerank"]
    of_spaces = [(space, stage) for space in ("cad", "clip") for stage in stages]
    assert rows == [(None, "check"), *of_spaces, (None, "fuse")]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ([], "options.space cannot be"),
        (["cad", 1], "options.space cannot be"),
        (["cad"] * 9, "options.space cannot be"),
        (["cad", "cad"], "names a space twice"),
        (["cad", "nope"], "there is no space nope"),
    ],
)
def test_bad_lists_of_spaces(db: Connection, space: list[Any], message: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message) as failure:
        db.execute("select * from cad.search_cad('x', options => %s)", [Jsonb({"space": space})])
    assert failure.value.diag.message_hint


def test_a_list_of_one_space_is_that_space(clip: Connection) -> None:
    search = "select name, score from cad.search_cad('part 2', 7, options => %s)"
    alone, listed = (clip.execute(search, [Jsonb({"space": space})]).fetchall() for space in ("clip", ["clip"]))
    assert listed == alone


def test_an_imported_part_is_compared_by_its_best_view(db: Connection) -> None:
    [part] = insert(db, [random_part(np.random.default_rng(1), 1)]).values()
    add(db, "photos", 2)
    db.execute("update cad.space set encoder_version = 'x' where name = 'photos'")
    db.execute(
        "insert into cad.space_photos (model_id, family, image_vec, fused_vec, encoder_version)"
        " select model_id, family, '[0.7,0.7]', '[0.7,0.7]', 'x' from cad.model"
    )
    db.execute("insert into cad.space_photos_view values (%(p)s, 0, '[1,0]'), (%(p)s, 1, '[0,1]')", {"p": part})
    row = db.execute("select image_score from cad.search_cad_vector('photos', '[0,5]', 1)").fetchone()
    assert row == (pytest.approx(1, abs=1e-3),)
