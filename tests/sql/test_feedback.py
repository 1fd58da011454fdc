"""Judgements of hits: who may record and read them, what is kept of a question, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]
LEVELS = {"buyer": "reader", "designer": "reader", "keeper": "admin"}
KEPT = "select judged_by, query_kind, words, part_number, relevant from cad.feedback join cad.model using (model_id)"


@pytest.fixture
def parts(db: Database, load_numbered: Callable[[int], None]) -> list[str]:
    """model_id of P-0, P-1, …"""
    load_numbered(4)
    return [str(part) for (part,) in db.execute("select model_id from cad.model order by part_number")]


@pytest.fixture
def connect(db: Database, dsn: str) -> Iterator[Callable[[str], Database]]:
    """Opens a session of a role."""
    connections = []
    for role, level in LEVELS.items():
        db.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        db.execute("select cad.grant_to(%s, %s)", [role, level])

    def opened(role: str) -> Database:
        connections.append(psycopg.connect(f"{dsn} user={role}", autocommit=True))
        return connections[-1]

    yield opened
    for connection in connections:
        connection.close()
    for role in LEVELS:
        db.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))


def test_everybody_records_and_reads_their_own_and_an_admin_all(
    parts: list[str], connect: Callable[[str], Database]
) -> None:
    buyer, designer, keeper = map(connect, LEVELS)
    buyer.execute("select cad.record_feedback('a bolt', %s)", [parts[0]])
    designer.execute("select cad.record_feedback('secret project', %s, false)", [parts[1]])
    of_buyer, of_designer = (
        ("buyer", "text", "a bolt", "P-0", True),
        ("designer", "text", "secret project", "P-1", False),
    )
    assert buyer.execute(KEPT).fetchall() == [of_buyer]
    assert designer.execute(KEPT).fetchall() == [of_designer]
    assert sorted(keeper.execute(KEPT).fetchall()) == [of_buyer, of_designer]
    assert buyer.execute("update cad.feedback set relevant = not relevant").rowcount == 1
    assert keeper.execute(f"{KEPT} where judged_by = 'designer'").fetchall() == [of_designer]
    for attempt in (
        "insert into cad.feedback (judged_by, question, model_id, relevant, space, query_kind)"
        f" values ('designer', '', '{parts[0]}', true, 'cad', 'text')",
        "update cad.feedback set judged_by = 'designer'",
        "delete from cad.feedback",
        "select cad.learn_weights('text')",
        "select cad.undo_learn_weights('text')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            buyer.execute(attempt)
    assert keeper.execute("delete from cad.feedback where judged_by = 'designer'").rowcount == 1


def test_the_last_judgement_counts(db: Database, parts: list[str]) -> None:
    for relevant in (True, False):
        db.execute("select cad.record_feedback('a  bolt', %s, %s)", [parts[0], relevant])
    db.execute("select cad.record_feedback('a bolt', %s, true)", [parts[0]])  # the same question
    db.execute("select cad.record_feedback('another bolt', %s, true)", [parts[0]])
    assert db.execute("select words, relevant from cad.feedback order by words").fetchall() == [
        ("a bolt", True), ("another bolt", True),
    ]  # fmt: skip


def test_a_question_of_any_kind_is_kept_as_it_can_be_asked_again(db: Database, parts: list[str]) -> None:
    for arguments in (
        "query => 'a bolt'",
        "image => 'picture'",
        "file => 'part 1', format => 'step'",
        "points => array[[0,0,0],[1,2,3]]::real[]",
        f"like_id => '{parts[1]}'",
        "query => 'a bolt', image => 'picture'",
        "v => (select fused_vec::vector from cad.space_cad limit 1)",
    ):
        db.execute(f"select cad.record_feedback(model_id => %s, {arguments})", [parts[0]])
    kept = db.execute(
        "select query_kind, words, like_id::text, encoder_version, by_view, num_nulls(text_vec, image_vec, shape_vec,"
        " brep_vec, fused_vec) from cad.feedback order by ctid"
    ).fetchall()
    assert kept == [
        ("text", "a bolt", None, None, None, 5),
        ("image", None, None, "scripted-1", True, 1),  # a question without exact faces
        ("shape", None, None, "scripted-1", False, 0),
        ("shape", None, None, "scripted-1", False, 1),
        ("shape", None, parts[1], None, None, 5),
        ("multi", "a bolt", None, "scripted-1", True, 1),
        ("multi", None, None, "scripted-1", False, 1),
    ]
    db.execute("delete from cad.model where part_number = 'P-1'")
    assert db.execute("select count(*) from cad.feedback where like_id is not null").fetchone() == (0,)
    db.execute("delete from cad.model where part_number = 'P-0'")
    assert db.execute("select count(*) from cad.feedback").fetchone() == (0,)


def test_a_text_is_judged_without_the_service_too(db: Database, scripted: ScriptedService, parts: list[str]) -> None:
    scripted.close()
    db.execute("select cad.record_feedback('a bolt', %s)", [parts[0]])
    assert db.execute("select query_kind, words from cad.feedback").fetchall() == [("text", "a bolt")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'bolt', null", "there is no part null"),
        ("'bolt', '00000000-0000-0000-0000-000000000000'", "there is no part 00000000"),
        ("'bolt', '{part}', null", "relevant cannot be null"),
        ("' ', '{part}'", "the query is empty"),
        ("null, '{part}'", "there is nothing to search for"),
        ("'bolt', '{part}', space => 'nowhere'", "there is no space nowhere"),
        ("model_id => '{part}', like_id => '{part}'", "was judged by itself"),
        ("'bolt', '{part}', like_id => '{other}'", "are each searched for alone"),
        ("model_id => '{part}', v => '[1,2]'", "the vector has 2 dimensions"),
    ],
)
def test_what_is_no_judgement_is_refused(db: Database, parts: list[str], arguments: str, message: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message) as refused:
        db.execute(f"select cad.record_feedback({arguments.format(part=parts[0], other=parts[1])})")
    assert refused.value.diag.message_hint
    assert db.execute("select count(*) from cad.feedback").fetchone() == (0,)


def test_parts_that_a_policy_hides_cannot_be_judged(
    db: Database, parts: list[str], connect: Callable[[str], Database]
) -> None:
    db.execute("alter table cad.model enable row level security")
    db.execute("create policy others on cad.model using (part_number <> 'P-0')")
    buyer = connect("buyer")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="there is no part"):
        buyer.execute("select cad.record_feedback('bolt', %s)", [parts[0]])
    buyer.execute("select cad.record_feedback('bolt', %s)", [parts[1]])
