"""Finding parts by words: part numbers, dimensions, Chinese, and what happens when the encoder service is away."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import insert, random_part
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]

NAMED = [  # part number, name, Chinese name, family, description
    ("FB-M8x40", "Flange bolt M8x40", "法兰螺栓 M8x40", "bolts", "Hexagon flange bolt, M8, 40 mm long, steel"),
    ("FB-M8x60", "Flange bolt M8x60", "法兰螺栓 M8x60", "bolts", "Hexagon flange bolt, M8, 60 mm long, steel"),
    ("HN-M8", "Hexagon nut M8", "六角螺母 M8", "nuts", "Hexagon nut, M8, steel"),
    ("6204-2RS", "Deep groove ball bearing", "深沟球轴承", "bearings", "Sealed ball bearing, 20 x 47 x 14 mm"),
    ("M8 40", "Washer", "垫圈", "washers", "Flat washer"),
]


@pytest.fixture
def named(db: Database) -> dict[str, str]:
    """The parts above, and a hundred others; part number → model_id."""
    rng = np.random.default_rng(3)
    ids = insert(db, [random_part(rng, number) for number in range(100)])
    with db.transaction(), db.cursor() as cursor:
        for number, name, name_zh, family, description in NAMED:
            row = cursor.execute(
                "insert into cad.model (part_number, name, name_zh, family, description, kind, format, sha256)"
                " values (%s, %s, %s, %s, %s, 'part', 'step', sha256(%s)) returning model_id::text",
                [number, name, name_zh, family, description, number.encode()],
            ).fetchone()
            assert row is not None
            ids[number] = row[0]
    db.execute(
        "insert into cad.space_cad (model_id, family, fused_vec, encoder_version)"
        " select m.model_id, m.family, v.fused_vec, 'known-1' from cad.model as m,"
        " (select s.fused_vec from cad.space_cad as s limit 1) as v where m.part_number = any(%s)",
        [[number for number, *_ in NAMED]],
    )
    db.execute("analyze cad.model")
    return ids


@pytest.fixture
def encoder(scripted: ScriptedService) -> ScriptedService:
    """A service whose vectors count as made by the encoder of the catalogue."""
    scripted.version = "known-1"
    return scripted


def scans(db: Database, query: str) -> int:
    """How often a search for `query` reads cad.model from end to end."""
    counter = "select seq_scan from pg_stat_xact_user_tables where relid = 'cad.model'::regclass"
    with db.transaction():
        [before] = db.execute(counter).fetchone() or [0]
        numbers(db, query)
        [after] = db.execute(counter).fetchone() or [0]
    return int(after - before)


def numbers(db: Database, query: str, k: int = 10, **arguments: Any) -> list[str]:
    names = "".join(f", {name} => %({name})s" for name in arguments)
    rows = db.execute(
        f"select part_number from cad.search_cad(%(query)s, %(k)s{names})", {"query": query, "k": k, **arguments}
    )
    return [number for (number,) in rows]


@pytest.mark.usefixtures("named", "encoder")
@pytest.mark.parametrize("query", ["6204-2RS", "6204-2rs", " FB-M8x60 ", "M8 40"])
def test_a_part_number_comes_first(db: Database, query: str) -> None:
    row = db.execute("select rank, part_number, score from cad.search_cad(%s, 3)", [query]).fetchone()
    assert row is not None
    assert (row[0], row[1].lower(), row[2]) == (1, query.strip().lower(), 1)


@pytest.mark.usefixtures("encoder")
def test_an_alias_comes_first(db: Database, named: dict[str, str]) -> None:
    db.execute("update cad.model set aliases = '{OLD-77}' where part_number = 'HN-M8'")
    assert numbers(db, "OLD-77", 1) == ["HN-M8"]


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize("query", ["OLD-77", "old-77", "Old-77"])
def test_an_alias_comes_first_among_many_parts(db: Database, query: str) -> None:
    """Nothing but the alias tells it from the others: neither its words, all parts have them, nor its vector."""
    insert(db, [random_part(np.random.default_rng(3), number) for number in range(400)])
    db.execute("update cad.model set aliases = '{old, 77, unlike}'")
    db.execute("update cad.model set aliases = '{OLD-77}' where part_number like '%0123'")
    db.execute("analyze cad.model")
    row = db.execute("select part_number, score from cad.search_cad(%s, 1)", [query]).fetchone()
    assert row is not None
    assert (row[0][-4:], row[1]) == ("0123", 1)


@pytest.mark.usefixtures("encoder")
def test_the_name_of_a_copy_is_not_a_part_number(db: Database, named: dict[str, str]) -> None:
    """Byte-identical files leave their names as aliases, so many a washer.step would claim the query washer."""
    db.execute("update cad.model set aliases = '{washer}' where part_number = 'HN-M8'")
    rows = db.execute("select score from cad.search_cad('washer', 200) where part_number = 'HN-M8'").fetchall()
    assert rows and rows[0][0] < 1


@pytest.mark.usefixtures("named", "encoder")
def test_words_and_dimensions_decide_among_look_alikes(db: Database) -> None:
    row = db.execute(
        "select part_number, lexical_score from cad.search_cad('M8 flange bolt, 40 mm', 1, family => 'bolts')"
    ).fetchone()
    assert row == ("FB-M8x40", 1)


@pytest.mark.usefixtures("named", "encoder")
def test_chinese_words_are_found(db: Database) -> None:
    options = '{"weights": {"text": 0, "image": 0, "shape": 0, "lexical": 1}}'
    assert numbers(db, "深沟球轴承", 1, options=options) == ["6204-2RS"]
    assert set(numbers(db, "法兰螺栓", 2, options=options)) == {"FB-M8x40", "FB-M8x60"}


@pytest.mark.usefixtures("named", "encoder")
def test_a_mistyped_part_number_is_found(db: Database) -> None:
    options = '{"weights": {"text": 0, "image": 0, "shape": 0, "lexical": 1}}'
    assert numbers(db, "6204-2R", 1, options=options) == ["6204-2RS"]


def test_a_measure_is_no_part_number(db: Database) -> None:
    measures = "(2x10) 2.54mm 0603 100nF 5,08mm. 1/2inch pitch=2.50mm, 12.5mmx8mm 3.4*2.1mm^2"
    query = f"{measures} 74H04 61300111121 ISO4014-M8x40, M8x40 [QFN-36_6x6mm] 6204-2R"
    found = db.execute("select cad._part_numbers(%s)", [query]).fetchone()
    assert found == (["74H04", "61300111121", "ISO4014-M8x40", "M8x40", "QFN-36_6x6mm", "6204-2R"],)


@pytest.mark.usefixtures("named", "encoder")
def test_rare_words_weigh_more(db: Database) -> None:
    weight = dict(
        db.execute(
            "select t.term::text, t.weight from cad._lexical_terms('number bearing 深沟') as q,"
            " unnest(q.terms, q.weights) as t (term, weight)"
        ).fetchall()
    )
    assert weight["'深沟'"] > weight["'bearing'"] > weight["'number'"]


@pytest.mark.usefixtures("named", "encoder")
def test_a_query_of_punctuation_is_answered_by_vectors(db: Database) -> None:
    assert len(numbers(db, "?!", 10)) == 10


@pytest.mark.usefixtures("named", "encoder")
def test_control_characters_are_blanks(db: Database) -> None:
    assert numbers(db, "\t6204-2RS\r\n\x1b", 1) == ["6204-2RS"]


@pytest.mark.usefixtures("named")
def test_without_a_service_words_still_answer_and_a_warning_says_so(db: Database) -> None:
    notices: list[str] = []
    db.add_notice_handler(lambda notice: notices.append(f"{notice.severity}: {notice.message_primary}"))
    db.execute("set pgcad.socket = '/nonexistent/encoder.sock'")
    assert numbers(db, "sealed ball bearing", 1) == ["6204-2RS"]
    assert set(notices) == {"WARNING: the encoder service is away: these hits are by words and part numbers alone"}
    assert numbers(db, "no such thing anywhere") == []
    stages = db.execute("select detail ->> 'strategy' from cad.explain_search('nut') where stage = 'plan'").fetchall()
    assert stages == [("lexical",)]


@pytest.mark.usefixtures("named")
def test_without_a_service_there_may_be_many_hits(db: Database) -> None:
    insert(db, [random_part(np.random.default_rng(4), number) for number in range(1000, 1400)])
    db.execute("set pgcad.socket = '/nonexistent/encoder.sock'")
    assert len(numbers(db, "number", 450)) == 450


@pytest.mark.usefixtures("named", "encoder")
@pytest.mark.parametrize("query", ["drop", "fail 57P01"])
def test_a_service_that_goes_away_is_no_service(db: Database, query: str) -> None:
    notices: list[str] = []
    db.add_notice_handler(lambda notice: notices.append(str(notice.severity_nonlocalized)))
    assert numbers(db, query) == []
    assert notices == ["WARNING"]


@pytest.mark.usefixtures("named", "encoder")
@pytest.mark.parametrize("query", ["fail 22023", "fail 53300", "fail 08P01"])
def test_what_the_service_refuses_is_refused(db: Database, query: str) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        numbers(db, query)
    assert refusal.value.sqlstate == query.split()[1]


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    "call",
    [
        "cad.search_cad_image('picture')",
        "cad.search_cad_shape('file', 'step')",
        "cad.search_cad_points(array[[0, 0, 0], [1, 1, 1]]::real[])",
        "cad.search_cad_multi('text', 'picture')",
    ],
)
def test_without_a_service_other_searches_fail(db: Database, call: str) -> None:
    db.execute("set pgcad.socket = '/nonexistent/encoder.sock'")
    with pytest.raises(psycopg.errors.SqlclientUnableToEstablishSqlconnection) as failure:
        db.execute(f"select * from {call}")
    assert failure.value.diag.message_hint


@pytest.mark.usefixtures("named")
def test_another_encoder_is_refused(db: Database, scripted: ScriptedService) -> None:
    scripted.version = "another-2"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="another-2") as refusal:
        db.execute("select * from cad.search_cad('bolt')")
    assert refusal.value.diag.message_hint


@pytest.mark.usefixtures("named", "encoder")
@pytest.mark.parametrize(
    "call",
    [
        "cad.search_cad('bolt', 7)",
        "cad.search_cad_image('picture', 7)",
        "cad.search_cad_shape('file', 'step', 7)",
        "cad.search_cad_points(array[[0, 0, 0], [1, 1, 1]]::real[], 7)",
        "cad.search_cad_multi('bolt', 'picture', 'file', 'step', 7)",
        "cad.search_cad_multi(image => 'picture', k => 7)",
    ],
)
def test_every_search_returns_k_ranked_hits(db: Database, call: str) -> None:
    rows = db.execute(f"select rank, score from {call}").fetchall()
    assert [rank for rank, _ in rows] == list(range(1, 8))
    assert sorted((score for _, score in rows), reverse=True) == [score for _, score in rows]


@pytest.mark.usefixtures("named", "encoder")
def test_a_picture_and_a_file_are_not_compared_with_texts(db: Database) -> None:
    call = "(image => 'picture', file => 'file', format => 'step')"
    row = db.execute(f"select detail -> 'weights' from cad.explain_search{call} where stage = 'encode'").fetchone()
    assert row is not None
    assert (row[0]["text"], row[0]["lexical"]) == (0, 0)
    assert row[0]["image"] > 0 < row[0]["shape"]
    assert db.execute(f"select text_score from cad.search_cad_multi{call}").fetchall() == [(None,)] * 10


@pytest.mark.usefixtures("named", "encoder")
def test_a_reader_may_search_and_sees_what_policies_allow(db: Database) -> None:
    db.execute("create role buyer")
    try:
        db.execute("select cad.grant_to('buyer', 'reader')")
        db.execute("alter table cad.model enable row level security")
        db.execute("create policy no_nuts on cad.model to buyer using (family <> 'nuts')")
        db.execute("set role buyer")
        assert "HN-M8" not in numbers(db, "HN-M8", 200)
        assert len(numbers(db, "hexagon nut M8", 200)) == 104
        assert len(db.execute("select * from cad.explain_search('HN-M8')").fetchall()) == 6
        assert scans(db, "hexagon flange bolt steel bearing washer sealed flat deep groove number") <= 6
    finally:
        db.execute("reset role")
        db.execute("drop owned by buyer")
        db.execute("drop role buyer")


@pytest.mark.usefixtures("encoder")
def test_an_image_is_compared_with_every_view(db: Database, named: dict[str, str]) -> None:
    db.execute(
        "insert into cad.space_cad_view (model_id, view, vec)"
        " select %s, view, case view when 4 then e.image_vec else other.fused_vec end"
        " from generate_series(0, 9) as view, cad._encode('cad', image => 'picture') as e,"
        " (select s.fused_vec from cad.space_cad as s limit 1) as other",
        [named["HN-M8"]],
    )
    row = db.execute("select part_number, image_score from cad.search_cad_image('picture', 1)").fetchone()
    assert row == ("HN-M8", pytest.approx(1, abs=2e-3))
