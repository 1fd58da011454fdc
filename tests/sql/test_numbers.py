"""A question that names numbers finds the part that measures them, though no text says so."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]

HEADERS = {  # name: count, pitch_mm, size_mm; all with one vector and no word that the questions have
    "a": (10, 2.54, (2.5, 5.08, 12.7)),
    "b": (10, 2.0, (2.0, 4.0, 10.0)),
    "c": (12, 2.54, (2.5, 5.08, 15.24)),
    "d": (12, 2.0, (2.0, 4.0, 12.0)),
}


@pytest.fixture
def headers(db: Database, scripted: ScriptedService) -> None:
    """The parts above, some meshes that only have a size, and a service that made their vectors."""
    scripted.version = "known-1"
    db.execute("update cad.space set encoder_version = 'known-1'")
    for name, (count, pitch_mm, size_mm) in HEADERS.items():
        measures = {"count": [count, 2 * count], "pitch_mm": [pitch_mm], "diameter_mm": [], "length_mm": [0.64]}
        store(db, name, size_mm, Jsonb(measures))
    for number in range(26):
        store(db, f"mesh {chr(97 + number)}", (1.0, 20.0 + number, 60.0), None)
    db.execute("analyze cad.model")


def store(db: Database, name: str, size_mm: tuple[float, ...], measures: Jsonb | None) -> None:
    db.execute(
        "insert into cad.model (name, kind, format, sha256, size_mm, measures)"
        " values (%s, 'part', 'step', sha256(%s), %s, %s)",
        [name, name.encode(), list(size_mm), measures],
    )
    db.execute(
        "insert into cad.space_cad (model_id, family, fused_vec, encoder_version)"
        " select model_id, family, array_fill(1, array[512])::halfvec, 'known-1' from cad.model where name = %s",
        [name],
    )


def found(db: Database, query: str, options: dict[str, Any] | None = None) -> list[str]:
    rows = db.execute("select name from cad.search_cad(%s, 3, options => %s)", [query, Jsonb(options or {})])
    return [name for (name,) in rows]


@pytest.mark.usefixtures("headers")
@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("连接器 10针 间距2.54毫米", "a"),
        ("something 2x05 P2.00mm", "b"),
        ("12 pins, pitch 2.54 mm", "c"),
        ("12 pins, 2.0mm pitch", "d"),
        ("15.24 mm long", "c"),
        ("0.6 inch long", "c"),
        ("plate 25 x 60 mm", "mesh f"),
    ],
)
def test_the_part_that_measures_what_was_named_comes_first(db: Database, query: str, first: str) -> None:
    assert found(db, query)[0] == first


@pytest.mark.usefixtures("headers")
def test_numbers_count_as_much_as_they_are_told_to(db: Database) -> None:
    query = "12 pins, pitch 2.54 mm"
    scores = dict(
        db.execute(
            "select name, score from cad.search_cad(%s, 10, options => %s)", [query, Jsonb({"weights": {"numbers": 0}})]
        ).fetchall()
    )
    assert len(set(scores.values())) == 1


@pytest.mark.usefixtures("headers")
def test_a_question_without_numbers_is_not_ranked_by_them(db: Database) -> None:
    plan = dict(db.execute("select stage, detail from cad.explain_search('a pin header', 3)").fetchall())
    assert plan["encode"]["weights"]["numbers"] == 0
    assert plan["encode"]["numbers"] is None


def test_quantities_are_read_as_the_encoder_reads_them(db: Database) -> None:
    row = db.execute("select cad._quantities('pin header 2x05 P2.54mm, M3 x 12')").fetchone()
    assert row is not None
    assert row[0]["pitch_mm"] == [2.54]
    assert (row[0]["pins"], row[0]["thread_mm"]) == ([10], [3])


def test_a_number_may_be_half_a_per_cent_off_and_no_metric_pitch_is_an_inch_pitch(db: Database) -> None:
    query = """
        select m.numbers @@ any(t.terms)
        from cad._number_terms('pitch 2.54 mm') as t,
            cad._number_lexemes(jsonb_build_object('pitch_mm', jsonb_build_array(%s::real)), null) as m (numbers)
    """
    near = [db.execute(query, [pitch_mm]).fetchone() for pitch_mm in (2.54, 2.535, 2.545)]
    far = [db.execute(query, [pitch_mm]).fetchone() for pitch_mm in (2.5, 2.6, 25.4)]
    assert near == [(True,)] * 3
    assert far == [(False,)] * 3


@pytest.mark.usefixtures("headers")
def test_a_number_that_no_part_has_weighs_more_than_one_that_many_have(db: Database) -> None:
    row = db.execute(
        "select terms::text[], weights from cad._number_terms('60 mm, pitch 2.54 mm, 77.7 mm') as t"
    ).fetchone()
    assert row is not None
    weights = dict(zip(*row, strict=True))
    [missing] = {weight for term, weight in weights.items() if "'l871'" in term}
    [common] = {weight for term, weight in weights.items() if "'l819'" in term}
    assert missing > 2 * common


@pytest.mark.usefixtures("headers")
def test_numbers_that_every_part_has_are_no_notice_to_the_user(db: Database) -> None:
    db.execute(
        "insert into cad.model (name, kind, format, sha256, size_mm)"
        " select 'plate', 'part', 'step', sha256(i::text::bytea), '{1, 30, 60}' from generate_series(1, 700) as i"
    )
    db.execute("analyze cad.model")
    notices: list[str] = []
    db.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    db.execute("set client_min_messages = notice")
    assert len(found(db, "60 mm")) == 3
    assert notices == []
