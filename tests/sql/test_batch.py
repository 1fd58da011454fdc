"""Many questions in one call, and how alike many parts are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, unit_vector
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]
QUERIES = ["bolt", "nut M8", "螺母", "bolt"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(37)


def hits(rows: list[tuple[Any, ...]], query: int) -> list[tuple[Any, ...]]:
    return [row[1:] for row in rows if row[0] == query]


def test_a_batch_finds_what_its_questions_find(
    db: Database, scripted: ScriptedService, load_numbered: Callable[[int], None]
) -> None:
    load_numbered(12)
    arguments = [5, None, Jsonb({"kind": "part"}), Jsonb({"weights": {"lexical": 2}})]
    batch = db.execute("select * from cad.search_cad_batch(%s, %s, %s, %s, %s)", [QUERIES, *arguments]).fetchall()
    assert {row[0] for row in batch} == {1, 2, 3, 4}
    db.execute("set pgcad.cache = off")
    for number, query in enumerate(QUERIES, 1):
        alone = db.execute("select * from cad.search_cad(%s, %s, %s, %s, %s)", [query, *arguments]).fetchall()
        assert len(alone) == 5
        assert hits(batch, number) == alone


def test_each_question_is_searched_once(
    db: Database, scripted: ScriptedService, load_numbered: Callable[[int], None]
) -> None:
    load_numbered(3)
    [(part,)] = db.execute("select model_id from cad.model limit 1").fetchall()
    db.execute("set pgcad.cache = off")
    db.execute("set pgcad.log_share = 1")
    db.execute("select * from cad.search_cad_batch(%s, 2)", [QUERIES])
    db.execute("select * from cad.search_cad_like_batch(%s, 2)", [[part]])
    assert db.execute("select count(*) from cad.search_log").fetchone() == (len(QUERIES) + 1,)


def test_the_vectors_of_a_batch_are_made_together(
    db: Database, scripted: ScriptedService, load_numbered: Callable[[int], None]
) -> None:
    load_numbered(3)
    scripted.headers.clear()
    db.execute("select * from cad.search_cad_batch(%s, 2)", [QUERIES])
    first = scripted.headers[0]
    assert first["op"] == "embed_text"
    assert sorted(first["texts"]) == sorted(set(QUERIES))


def test_a_batch_without_the_service_goes_by_words(
    db: Database, scripted: ScriptedService, load_numbered: Callable[[int], None]
) -> None:
    load_numbered(3)
    scripted.close()
    rows = db.execute("select query, part_number from cad.search_cad_batch(%s)", [["thing", "P-1"]]).fetchall()
    assert next(number for query, number in rows if query == 2) == "P-1"
    assert len([number for query, number in rows if query == 1]) == 3


@pytest.mark.parametrize("function", ["search_cad_batch(array[]::text[])", "search_cad_like_batch(array[]::uuid[])"])
@pytest.mark.usefixtures("scripted")
def test_nothing_is_asked_and_nothing_found(db: Database, function: str) -> None:
    assert db.execute(f"select * from cad.{function}").fetchall() == []
    assert db.execute(f"select * from cad.{function.replace('array[]', 'null')}").fetchall() == []


@pytest.mark.parametrize(
    "call",
    [
        "search_cad_batch(array['bolt', null])",
        "search_cad_batch(array['bolt', ''])",
        "search_cad_batch(array['bolt'], 0)",
        "search_cad_batch(array['bolt'], options => '{\"space\": \"nowhere\"}')",
        "search_cad_like_batch(array[gen_random_uuid()])",
        "search_cad_like_batch(array[null::uuid])",
        "similarity_matrix(array[]::uuid[], against => 'smell')",
        "similarity_matrix(array[]::uuid[], space => 'nowhere')",
    ],
)
@pytest.mark.usefixtures("scripted")
def test_bad_questions_are_refused(db: Database, call: str) -> None:
    with pytest.raises((psycopg.errors.InvalidParameterValue, psycopg.errors.NullValueNotAllowed)) as refused:
        db.execute(f"select * from cad.{call}")
    assert refused.value.diag.message_hint


def test_a_batch_of_parts_finds_what_each_finds(db: Database, rng: np.random.Generator) -> None:
    ids = list(insert(db, [random_part(rng, number) for number in range(30)]).values())[:5]
    batch = db.execute("select * from cad.search_cad_like_batch(%s::uuid[], 4)", [ids]).fetchall()
    for number, part in enumerate(ids, 1):
        assert hits(batch, number) == db.execute("select * from cad.search_cad_like(%s, 4)", [part]).fetchall()


def similarities(db: Database, *arguments: Any) -> dict[tuple[str, str], float]:
    places = ", ".join(["%s::uuid[]"] * min(2, len(arguments)) + ["%s"] * (len(arguments) - 2))
    rows = db.execute(f"select * from cad.similarity_matrix({places})", arguments).fetchall()
    assert len(rows) == len({row[:2] for row in rows})
    return {(str(left), str(right)): score for left, right, score in rows}


@pytest.mark.parametrize("against", ["fused", "text", "image", "shape", "brep"])
def test_how_alike_parts_are(db: Database, rng: np.random.Generator, against: str) -> None:
    parts: list[Part] = [random_part(rng, number) for number in range(8)]
    ids = insert(db, parts)
    vectors = {ids[p.number]: p.vectors[against] for p in parts if p.vectors[against] is not None}
    left, right = list(ids.values())[:5], list(ids.values())[3:]
    found = similarities(db, left, right, against)
    assert found == {
        (a, b): pytest.approx(float(vectors[a] @ vectors[b]), abs=2e-3)
        for a in left
        for b in right
        if a in vectors and b in vectors
    }


def test_parts_without_a_direction_and_hidden_ones_are_left_out(db: Database, rng: np.random.Generator) -> None:
    ids = list(insert(db, [random_part(rng, number) for number in range(6)]).values())
    db.execute(
        "update cad.space_cad set fused_vec = array_fill(0, array[512])::real[]::halfvec(512) where model_id = %s",
        [ids[0]],
    )
    assert set(similarities(db, ids)) == {(a, b) for a in ids[1:] for b in ids[1:]}
    db.execute("create role engineer")
    try:
        db.execute("select cad.grant_to('engineer', 'reader')")
        db.execute("alter table cad.model enable row level security")
        db.execute(f"create policy p on cad.model to engineer using (model_id <> '{ids[1]}')")
        db.execute("set role engineer")
        assert set(similarities(db, ids)) == {(a, b) for a in ids[2:] for b in ids[2:]}
    finally:
        db.execute("reset role")
        db.execute("drop owned by engineer")
        db.execute("drop role engineer")
    assert similarities(db, []) == {}
    assert unit_vector(rng).shape == (512,)
