"""The second look at the first hits of a picture: its outline against the silhouettes of many, then of the best."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pgcad import client
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService

Connection = psycopg.Connection[Any]
WEIGHT = 8.0
COMPARED, REFINED = 200, 40


@pytest.fixture
def parts(db: Connection, load_numbered: Callable[[int], None]) -> Connection:
    """Fifty parts, each with silhouettes and points of its own."""
    load_numbered(50)
    return db


def hits(db: Connection, picture: str = "a picture", k: int = 50, **options: object) -> list[tuple[str, float]]:
    search = "select part_number, score from cad.search_cad_image(%s, k => %s, options => %s)"
    return db.execute(search, [picture.encode(), k, Jsonb(options)]).fetchall()


def asked(scripted: ScriptedService) -> list[str]:
    return [header["op"] for header in scripted.headers if header["op"] in ("overlap", "refine_overlap", "fit")]


def mixed(score: float, fit: float) -> Any:
    return pytest.approx((score + WEIGHT * fit) / (1 + WEIGHT), abs=1e-5)


def plan(db: Connection, picture: str = "a picture") -> dict[str, tuple[int, Any]]:
    rows = db.execute("select stage, candidates, detail from cad.explain_search(image => %s)", [picture.encode()])
    return {stage: (candidates, detail) for stage, candidates, detail in rows.fetchall()}


def test_whose_silhouette_agrees_best_comes_first(parts: Connection, scripted: ScriptedService) -> None:
    before = hits(parts, weights={"fit": 0})
    last, score = before[49]
    scripted.overlaps, scripted.fits = {last.encode(): 0.9}, {last.encode(): 0.97}
    after = hits(parts)
    assert after[0] == (last, mixed(score, 0.97))
    assert [number for number, _ in after[1:]] == [number for number, _ in before if number != last]


def test_only_the_best_are_refined_and_the_others_are_no_better_than_the_worst_of_them(
    parts: Connection, scripted: ScriptedService
) -> None:
    before = hits(parts, weights={"fit": 0})
    scripted.fits = {number.encode(): 0.4 for number, _ in before}
    scripted.overlaps = {before[49][0].encode(): 0.3}
    after = dict(hits(parts))
    expected = {number: mixed(score, 0.4) for number, score in before[:49]}
    assert after == expected | {before[49][0]: mixed(before[49][1], 0.3)}
    assert len(scripted.refined) == REFINED


def test_each_part_is_refined_near_its_own_cameras(parts: Connection, scripted: ScriptedService) -> None:
    scripted.overlaps = {b"P-%d" % number: number / 50 for number in range(50)}
    hits(parts)
    assert len({part for part, _ in scripted.refined}) == REFINED
    assert all(cameras == [zlib.crc32(part)] for part, cameras in scripted.refined)


def test_few_hits_are_the_best_of_many(parts: Connection, scripted: ScriptedService) -> None:
    fortieth = hits(parts, weights={"fit": 0})[39][0].encode()
    scripted.overlaps = scripted.fits = {fortieth: 1.0}
    assert hits(parts, k=1)[0][0].encode() == fortieth


def test_a_picture_without_a_plain_background_is_ranked_by_its_vectors(
    parts: Connection, scripted: ScriptedService
) -> None:
    scripted.overlaps = {b"P-7": 1.0}
    assert hits(parts, "busy") == hits(parts, "busy", weights={"fit": 0})
    assert asked(scripted) == ["overlap"]
    assert plan(parts, "busy")["overlap"][1] == {"plain_background": False}


def test_the_plan_tells_how_many_were_compared_and_how_well_the_best_agree(
    parts: Connection, scripted: ScriptedService
) -> None:
    stages = plan(parts)
    assert stages["overlap"] == (50, {"plain_background": True})
    assert stages["fit"] == (REFINED, {"fits": [0.5] * REFINED})


def test_parts_whose_silhouettes_are_not_kept_are_not_left_out(parts: Connection, scripted: ScriptedService) -> None:
    before = hits(parts, weights={"fit": 0})
    without = "delete from cad.artifact as a using cad.model as m where m.model_id = a.model_id"
    parts.execute(without + " and a.role = 'silhouettes' and m.part_number = %s", [before[0][0]])
    parts.execute(without + " and a.role = 'points' and m.part_number = %s", [before[1][0]])
    assert dict(hits(parts)) == {number: mixed(score, 0.5) for number, score in before}
    parts.execute("delete from cad.artifact where role = 'silhouettes'")
    assert hits(parts) == before
    assert len(hits(parts, k=3)) == 3


def test_a_file_is_laid_on_top_even_where_there_is_a_picture_too(parts: Connection, scripted: ScriptedService) -> None:
    parts.execute("select * from cad.search_cad_multi('a thing', image => 'a picture')")
    assert asked(scripted) == ["overlap", "refine_overlap"]
    parts.execute("select * from cad.search_cad_multi(image => 'a picture', file => 'a file', format => 'stl')")
    assert asked(scripted)[2:] == ["fit"]


def test_nobody_is_asked_where_the_weight_is_0(parts: Connection, scripted: ScriptedService) -> None:
    hits(parts, weights={"fit": 0})
    hits(parts, against="image")
    assert asked(scripted) == []


@pytest.mark.parametrize("operation", ["overlap", "refine_overlap"])
def test_a_failure_is_raised(parts: Connection, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise client.ServiceError("53300", "the queue is full", hint="Try again in a moment.")

    monkeypatch.setattr(ScriptedService, operation, refuse)
    with pytest.raises(psycopg.errors.TooManyConnections) as failure:
        hits(parts)
    assert failure.value.diag.message_hint == "Try again in a moment."
