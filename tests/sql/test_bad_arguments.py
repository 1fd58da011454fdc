"""Bad arguments: refused at once with a standard SQLSTATE, what was wrong, and a hint that says what is right."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import insert, random_part
from psycopg.types.json import Jsonb

Database = psycopg.Connection[Any]


@pytest.fixture
def part(db: Database) -> str:
    """The one part there is; its model_id."""
    [model_id] = insert(db, [random_part(np.random.default_rng(1), 1)]).values()
    return model_id


def refusal(db: Database, call: str, *arguments: Any) -> tuple[str, str, str]:
    """SQLSTATE, message and hint of a search that must fail."""
    with pytest.raises(psycopg.Error) as error:
        db.execute(f"select * from {call}", arguments)
    diagnostic = error.value.diag
    return str(diagnostic.sqlstate), str(diagnostic.message_primary), str(diagnostic.message_hint)


def test_k(db: Database, part: str) -> None:
    for k in (0, -1, None, 100_000, 10_001):
        sqlstate, message, hint = refusal(db, "cad.search_cad_like(%s, %s)", part, k)
        assert (sqlstate, message) == ("22023", f"k cannot be {'null' if k is None else k}")
        assert "1 to 10000" in hint
    for k in (1, 10_000):
        assert db.execute("select count(*) from cad.search_cad_like(%s, %s)", [part, k]).fetchone() == (0,)


def test_unknown_filter(db: Database, part: str) -> None:
    sqlstate, message, hint = refusal(db, "cad.search_cad_like(%s, filters => %s)", part, Jsonb({"familly": "bolts"}))
    assert (sqlstate, message) == ("22023", "filters has no key familly")
    assert hint == "Known keys: created_at, family, kind, mass_kg, material, size_mm, tags, volume_mm3."


def test_unknown_option(db: Database, part: str) -> None:
    sqlstate, message, hint = refusal(db, "cad.search_cad_like(%s, options => %s)", part, Jsonb({"speed": "fast"}))
    assert (sqlstate, message) == ("22023", "options has no key speed")
    assert hint == "Known keys: against, boost, min_score, space, strategy, weights."


def test_features_are_not_supported_yet(db: Database, part: str) -> None:
    sqlstate, _, hint = refusal(db, "cad.search_cad_like(%s, filters => %s)", part, Jsonb({"features": {"holes": 4}}))
    assert sqlstate == "0A000"
    assert hint


WRONG: dict[str, list[dict[str, Any]]] = {
    "filters": [
        {"family": 1}, {"family": None}, {"family": ["a", 1]}, {"family": {"a": 1}}, {"material": ["steel"]},
        {"tags": [["a"]]}, {"tags": 5}, {"mass_kg": 3}, {"mass_kg": {"min": "1"}}, {"mass_kg": {"least": 1}},
        {"mass_kg": {"min": 2, "max": 1}}, {"volume_mm3": [1, 2]}, {"volume_mm3": None}, {"size_mm": [1, 2]},
        {"size_mm": [1, 2, "3"]}, {"size_mm": [1, 2, -3]}, {"size_mm": {"extents": [1, 2]}},
        {"size_mm": {"tolerance_mm": 1}}, {"size_mm": {"extents": [1, 2, 3], "tolerance_mm": -1}},
        {"size_mm": {"extents": [1, 2, 3], "tolerance": 1}}, {"created_at": "2026-01-01"},
        {"created_at": {"from": "yesterday or so"}}, {"created_at": {"to": "2026-02-31"}},
        {"created_at": {"to": 2026}}, {"kind": "screw"}, {"kind": ["part"]}, {"kind": 1},
        {"mass_kg": {"min": Decimal("1e400")}}, {"volume_mm3": {"max": Decimal("-1e400")}},
        {"mass_kg": {"max": Decimal("1e-400")}}, {"size_mm": [1, 2, Decimal("1e400")]},
        {"size_mm": {"extents": [1, 2, Decimal("1e-400")]}},
        {"size_mm": {"extents": [1, 2, 3], "tolerance_mm": Decimal("1e400")}},
    ],
    "options": [
        {"against": "sound"}, {"against": ["text"]}, {"strategy": "fast"}, {"strategy": None}, {"space": 1},
        {"weights": 1}, {"weights": {"text": "1"}}, {"weights": {"text": -1}}, {"weights": {"sound": 1}},
        {"min_score": "high"}, {"min_score": None}, {"min_score": Decimal("1e39")}, {"min_score": Decimal("1e-400")},
        {"weights": {"text": Decimal("1e400")}}, {"weights": {"text": Decimal("1e-400")}}, {"boost": "steel"},
        {"boost": None},
    ],
    "options.boost": [
        {"material": ["steel"]}, {"mass_kg": 3}, {"mass_kg": {"near": 0}}, {"mass_kg": {"near": -1}},
        {"mass_kg": {"near": "1"}}, {"mass_kg": {"near": 1, "max": 2}}, {"mass_kg": {}}, {"volume_mm3": {"min": 1}},
        {"volume_mm3": {"near": None}}, {"size_mm": [1, 2]}, {"size_mm": [1, 2, -3]}, {"size_mm": [1, 2, "3"]},
        {"size_mm": {"extents": [1, 2, 3]}}, {"mass_kg": {"near": Decimal("1e400")}},
        {"volume_mm3": {"near": Decimal("1e-400")}}, {"size_mm": [1, 2, Decimal("1e400")]},
    ],
}  # fmt: skip


def as_json(value: Any) -> str:
    """JSON with decimals as the numbers they are, however large."""
    return re.sub(r'"Decimal (.*?)"', r"\1", json.dumps(value, default=lambda number: f"Decimal {number}"))


def test_an_unknown_boost(db: Database, part: str) -> None:
    options = Jsonb({"boost": {"colour": "red"}})
    sqlstate, message, hint = refusal(db, "cad.search_cad_like(%s, options => %s)", part, options)
    assert (sqlstate, message) == ("22023", "options.boost has no key colour")
    assert hint == "Known keys: mass_kg, material, size_mm, volume_mm3."


@pytest.mark.parametrize("argument", WRONG)
def test_wrong_values(db: Database, part: str, argument: str) -> None:
    outer, _, inner = argument.partition(".")
    for value in WRONG[argument]:
        jsonb = Jsonb({inner: value} if inner else value, dumps=as_json)
        sqlstate, message, hint = refusal(db, f"cad.search_cad_like(%s, {outer} => %s)", part, jsonb)
        assert sqlstate == "22023", value
        assert message.startswith(f"{argument}.{next(iter(value))} cannot be "), value
        assert hint.startswith("Expected "), value


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("number", [1e30, 1e-30, -1e30, 0])
def test_numbers_at_the_bounds_are_taken(db: Database, number: float) -> None:
    filters = {"mass_kg": {"min": number}, "size_mm": {"extents": [1, 2, 3], "tolerance_mm": abs(number)}}
    options = {"weights": {"text": 1e9, "shape": 1e-9}, "min_score": number}
    vector = str([1] * 512)
    for strategy in ("exact", "hnsw"):
        db.execute(
            "select * from cad.search_cad_vector('cad', %s::vector, filters => %s, options => %s)",
            [vector, Jsonb(filters), Jsonb({**options, "strategy": strategy})],
        )


@pytest.mark.parametrize("argument", ["filters", "options"])
def test_not_an_object(db: Database, part: str, argument: str) -> None:
    values: list[Any] = [[], "text", 3, None]
    for value in values:
        sqlstate, message, _ = refusal(db, f"cad.search_cad_like(%s, {argument} => %s)", part, Jsonb(value))
        assert (sqlstate, message.partition(",")[0]) == ("22023", f"{argument} must be a JSON object"), value


def test_sql_null_means_no_filters_and_no_options(db: Database, part: str) -> None:
    assert db.execute("select * from cad.search_cad_like(%s, 10, null, null, null)", [part]).fetchall() == []


def test_weights_that_leave_nothing(db: Database, part: str) -> None:
    weights = {"weights": {"text": 0, "image": 0, "shape": 0, "brep": 0, "lexical": 1}}
    assert refusal(db, "cad.search_cad_like(%s, options => %s)", part, Jsonb(weights))[0] == "22023"


def test_unknown_space(db: Database, part: str) -> None:
    for space in ("cad2", "cad; drop table cad.model", 'a"b', ""):
        sqlstate, message, hint = refusal(db, "cad.search_cad_like(%s, options => %s)", part, Jsonb({"space": space}))
        assert sqlstate == "22023", space
        assert message.startswith("there is no space "), space
        assert hint == "Known spaces: cad."
        assert refusal(db, "cad.search_cad_vector(%s, '[1]')", space)[0] == "22023", space


@pytest.mark.usefixtures("part")
def test_vector(db: Database) -> None:
    sqlstate, message, _ = refusal(db, "cad.search_cad_vector('cad', '[1, 2, 3]')")
    assert (sqlstate, message) == ("22023", "the vector has 3 dimensions, space cad has 512")
    zero = str([0] * 512)
    assert refusal(db, "cad.search_cad_vector('cad', %s::vector)", zero)[:2] == ("22023", "the vector is zero")
    for number in ("NaN", "Infinity"):
        assert refusal(db, "cad.search_cad_vector('cad', %s::vector)", f"[{number}]")[0].startswith("22"), number


def test_empty_query(db: Database) -> None:
    for query in (None, "", "  \t\n", "\x01\x02"):
        sqlstate, _, hint = refusal(db, "cad.search_cad(%s)", query)
        assert sqlstate == "22023", query
        assert hint.startswith("Give "), query


@pytest.mark.parametrize("length", [8193, 10_000_000])
def test_too_long_a_query(db: Database, length: int) -> None:
    sqlstate, message, hint = refusal(db, "cad.search_cad(%s)", "x" * length)
    assert (sqlstate, message) == ("54000", f"the query has {length} characters, more than 8192")
    assert hint


def test_nothing_to_search_for(db: Database) -> None:
    for call in (
        "search_cad_image(null)", "search_cad_shape(null, 'step')", "search_cad_points(null)", "search_cad_like(null)",
        "search_cad_multi()", "search_cad_vector('cad', null)",
    ):  # fmt: skip
        assert refusal(db, f"cad.{call}")[:2] == ("22023", "there is nothing to search for"), call


@pytest.mark.parametrize("alone", ["points => '{{1,2,3}}'", "model_id => %(part)s", "v => '[1]'"])
@pytest.mark.parametrize("other", ["query => 'bolt'", "image => 'x'", "file => 'x', format => 'step'"])
def test_what_no_search_takes_together(db: Database, part: str, alone: str, other: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="each searched for alone") as failure:
        db.execute(f"select * from cad.explain_search({alone}, {other})", {"part": part})
    assert failure.value.diag.message_hint
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="each searched for alone"):
        db.execute("select * from cad.explain_search(points => '{{1,2,3}}', v => '[1]')")


def test_unknown_part(db: Database) -> None:
    sqlstate, message, _ = refusal(db, "cad.search_cad_like('00000000-0000-0000-0000-000000000000')")
    assert (sqlstate, message.split(" with ")[0]) == ("22023", "there is no part 00000000-0000-0000-0000-000000000000")


def test_points_of_wrong_shape(db: Database) -> None:
    for points in ("array[]::real[]", "array[1, 2, 3]::real[]", "array[[1, 2], [3, 4]]::real[]"):
        sqlstate, _, hint = refusal(db, f"cad.search_cad_points({points})")
        assert sqlstate == "22023", points
        assert hint
