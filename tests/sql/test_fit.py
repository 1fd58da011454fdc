"""The second look at the first hits: how well they fit a file or a cloud is one more score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pgcad import client
from pgcad.evaluation.second_look import FIT_WEIGHT, LOOKED_AT
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService

Connection = psycopg.Connection[Any]
SHAPE = "cad.search_cad_shape('a file', 'step', k => %s, options => %s)"
OTHERS = 2
"""Weights of its points and of its exact faces."""


@pytest.fixture
def parts(db: Connection, load_numbered: Callable[[int], None]) -> Connection:
    """Twelve parts, each with points of its own."""
    load_numbered(12)
    return db


def hits(db: Connection, k: int = 12, **options: object) -> list[tuple[str, float]]:
    return db.execute(f"select part_number, score from {SHAPE}", [k, Jsonb(options)]).fetchall()


def asked(scripted: ScriptedService) -> list[dict[str, Any]]:
    return [header for header in scripted.headers if header["op"] == "fit"]


def mixed(score: float, fit: float) -> Any:
    return pytest.approx((OTHERS * score + FIT_WEIGHT * fit) / (OTHERS + FIT_WEIGHT), abs=1e-5)


def test_what_fits_comes_first(parts: Connection, scripted: ScriptedService) -> None:
    before = hits(parts, weights={"fit": 0})
    eighth, score = before[7]
    scripted.fits = {eighth.encode(): 0.97}
    after = hits(parts)
    assert after[0] == (eighth, mixed(score, 0.97))
    assert [number for number, _ in after[1:]] == [number for number, _ in before if number != eighth]


def test_what_was_not_looked_at_is_taken_to_fit_as_badly_as_the_worst(
    parts: Connection, scripted: ScriptedService
) -> None:
    before = hits(parts, weights={"fit": 0})
    scripted.fits = {before[0][0].encode(): 0.25, before[11][0].encode(): 1.0}
    after = dict(hits(parts))
    assert {number: after[number] for number, _ in before[10:]} == {
        number: mixed(score, 0.25) for number, score in before[10:]
    }
    assert list(after.values()) == sorted(after.values(), reverse=True)


def test_few_hits_are_the_best_of_ten(parts: Connection, scripted: ScriptedService) -> None:
    tenth = hits(parts, weights={"fit": 0})[9][0]
    scripted.fits = {tenth.encode(): 1.0}
    assert [number for number, _ in hits(parts, 1)] == [tenth]


def test_hits_below_the_least_score_are_left_out_after_the_second_look(
    parts: Connection, scripted: ScriptedService
) -> None:
    tenth = hits(parts, weights={"fit": 0})[9][0]
    scripted.fits = {tenth.encode(): 1.0}
    assert [number for number, _ in hits(parts, min_score=0.7)] == [tenth]


def test_a_part_of_which_no_points_are_kept_is_not_left_out(parts: Connection, scripted: ScriptedService) -> None:
    before = hits(parts, weights={"fit": 0})
    first, score = before[0]
    parts.execute(
        "delete from cad.artifact as a using cad.model as m"
        " where m.model_id = a.model_id and a.role = 'points' and m.part_number = %s",
        [first],
    )
    assert (first, mixed(score, 0.5)) in hits(parts)
    parts.execute("delete from cad.artifact where role = 'points'")
    assert hits(parts) == before
    assert len(hits(parts, 3)) == 3


def test_nobody_is_asked_where_the_weight_is_0(parts: Connection, scripted: ScriptedService) -> None:
    hits(parts, weights={"fit": 0})
    hits(parts, against="shape")
    parts.execute("select * from cad.search_cad('a thing')")
    parts.execute("select * from cad.search_cad_like((select model_id from cad.model limit 1))")
    assert asked(scripted) == []


def test_clouds_and_several_things_at_once_are_looked_at_too(parts: Connection, scripted: ScriptedService) -> None:
    parts.execute("select * from cad.search_cad_points(array[[0, 0, 0], [1, 1, 1]]::real[])")
    parts.execute("select * from cad.search_cad_multi('a thing', file => 'a file', format => 'stl')")
    assert [header["format"] for header in asked(scripted)] == [None, "stl"]


def test_the_part_that_is_named_stays_first(parts: Connection, scripted: ScriptedService) -> None:
    scripted.fits = {b"P-3": 1.0}
    rows = parts.execute(
        "select part_number, score from cad.search_cad_multi('P-5', file => 'a file', format => 'step')"
    ).fetchall()
    assert rows[0] == ("P-5", 1.0)


def test_the_plan_tells_how_well_the_first_fit(parts: Connection, scripted: ScriptedService) -> None:
    scripted.fits = {hits(parts, 1)[0][0].encode(): 0.75}
    row = parts.execute(
        "select detail -> 'fits', candidates from cad.explain_search(file => 'a file', format => 'step')"
        " where stage = 'fit'"
    ).fetchone()
    assert row is not None
    assert (row[0][0], len(row[0]), row[1]) == (0.75, LOOKED_AT, LOOKED_AT)


def test_a_failure_is_raised(parts: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise client.ServiceError("53300", "the queue is full", hint="Try again in a moment.")

    monkeypatch.setattr(ScriptedService, "fit", refuse)
    with pytest.raises(psycopg.errors.TooManyConnections) as failure:
        hits(parts)
    assert failure.value.diag.message_hint == "Try again in a moment."
