"""Encoders as SQL functions: what they return, how they fail, how they end when they must."""

from __future__ import annotations

import json
import struct
import threading
import time
from typing import Any

import psycopg
import pytest
from service_doubles.scripted import ScriptedService, vector

Connection = psycopg.Connection[Any]


def numbers(content: bytes) -> Any:
    return pytest.approx(struct.unpack("<512f", vector(content)), abs=1e-3)


def one(db: Connection, query: str, *parameters: Any) -> Any:
    row = db.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def test_each_encoder_returns_the_vector_of_what_it_got(db: Connection, scripted: ScriptedService) -> None:
    assert json.loads(one(db, "select cad.embed_text('M8 螺栓')")) == numbers("M8 螺栓".encode())
    assert json.loads(one(db, "select cad.embed_image(%s)", b"a picture")) == numbers(b"a picture")
    assert json.loads(one(db, "select cad.embed_shape(%s, 'step')", b"a part")) == numbers(b"a part")
    cloud = struct.pack("<6f", 0, 0.5, 0, 10, 0, 2)
    assert json.loads(one(db, "select cad.embed_points('{{0,0.5,0},{10,0,2}}')")) == numbers(cloud)
    assert one(db, "select pg_typeof(cad.embed_text('x'))::text").endswith("halfvec")


def test_batches_keep_their_order(db: Connection, scripted: ScriptedService) -> None:
    rows = db.execute("select ordinal, embedding from cad.embed_texts(array['b', 'a', 'b'])").fetchall()
    assert [(ordinal, json.loads(literal)) for ordinal, literal in rows] == [
        (1, numbers(b"b")), (2, numbers(b"a")), (3, numbers(b"b")),
    ]  # fmt: skip
    pictures = db.execute("select ordinal, embedding from cad.embed_images(%s)", [[b"p", b"q"]]).fetchall()
    assert [json.loads(literal) for _, literal in pictures] == [numbers(b"p"), numbers(b"q")]
    assert db.execute("select * from cad.embed_texts('{}')").fetchall() == []


def test_null_gives_null_without_asking_anyone(db: Connection) -> None:
    assert one(db, "select cad.embed_text(null)") is None


def test_a_query_of_several_parts(db: Connection, scripted: ScriptedService) -> None:
    row = db.execute(
        "select text_vec, image_vec, shape_vec, fused_vec, version from cad._encode('cad', 'bolt', %s, %s, 'step')",
        [b"picture", b"file"],
    ).fetchone()
    assert row is not None
    assert [json.loads(literal) for literal in row[:4]] == [numbers(b) for b in (b"bolt", b"picture", b"file", b"bolt")]
    assert row[4] == "scripted-1"
    only_text = db.execute(
        "select image_vec, shape_vec, fused_vec = text_vec from cad._encode('cad', 'bolt')"
    ).fetchone()
    assert only_text == (None, None, True)
    points = db.execute(
        "select text_vec, fused_vec = shape_vec from cad._encode('cad', points => '{{1,2,3}}')"
    ).fetchone()
    assert points == (None, True)


@pytest.mark.parametrize(
    ("points", "sqlstate"),
    [("{1,2,3}", "22023"), ("{{1,2}}", "22023"), ("{}", "22023"), ("{{{1,2,3}}}", "22023"), ("{{1,2,null}}", "22004")],
)
def test_points_must_be_n_by_3(db: Connection, scripted: ScriptedService, points: str, sqlstate: str) -> None:
    with pytest.raises(psycopg.Error) as failure:
        db.execute("select cad.embed_points(%s)", [points])
    assert failure.value.sqlstate == sqlstate
    assert failure.value.diag.message_hint


def test_health_is_the_services_own_word(db: Connection, scripted: ScriptedService) -> None:
    health = one(db, "select cad.encoder_health()")
    assert health["spaces"] == {"cad": {"version": "scripted-1", "dim": 512}}
    assert "id" not in health


def test_an_absent_service_is_a_clear_error(db: Connection) -> None:
    db.execute("set pgcad.socket = '/nowhere/encoder.sock'")
    with pytest.raises(psycopg.OperationalError) as failure:
        db.execute("select cad.embed_text('x')")
    diagnosis = failure.value.diag
    assert (diagnosis.sqlstate, diagnosis.message_primary) == (
        "08001", "cannot reach the encoder service at /nowhere/encoder.sock",
    )  # fmt: skip
    assert "pgcad serve" in (diagnosis.message_hint or "")


def test_a_text_over_the_limit_is_refused_here(db: Connection, scripted: ScriptedService) -> None:
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="the limit is"):
        db.execute("select cad.embed_text(repeat('x', 10000000))")
    assert one(db, "select cad.embed_text('and on we go') is not null")


def test_the_connection_survives_a_restart_of_the_service(db: Connection, scripted: ScriptedService) -> None:
    db.execute("select cad.embed_text('a')")
    scripted.close()
    again = ScriptedService(scripted.path)
    assert one(db, "select cad.embed_text('a') is not null")
    again.close()


def test_the_timeout_of_a_query_is_the_users(db: Connection, scripted: ScriptedService) -> None:
    db.execute("set pgcad.timeout_ms = 200")
    with pytest.raises(psycopg.errors.QueryCanceled, match="did not answer within 200 ms"):
        db.execute("select * from cad._encode('cad', 'hang')")


def test_a_statement_timeout_ends_the_wait(db: Connection, scripted: ScriptedService) -> None:
    db.execute("set statement_timeout = 200")
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        db.execute("select * from cad._encode('cad', 'hang')")
    db.execute("reset statement_timeout")
    assert one(db, "select cad.embed_text('and on we go') is not null")


def test_a_cancel_ends_the_wait(db: Connection, dsn: str, scripted: ScriptedService) -> None:
    backend = db.info.backend_pid

    def cancel() -> None:
        with psycopg.connect(dsn, autocommit=True) as other:
            waiting = "select count(*) from pg_stat_activity where pid = %s and state = 'active'"
            while one(other, waiting, backend) == 0:
                time.sleep(0.01)
            time.sleep(0.1)
            other.execute("select pg_cancel_backend(%s)", [backend])

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
        db.execute("select * from cad._encode('cad', 'hang')")
    canceller.join()


def test_an_index_serves_a_distance_to_an_embedding(db: Connection, scripted: ScriptedService) -> None:
    db.execute("set enable_seqscan = off")
    plan = db.execute(
        "explain select model_id from cad.space_cad order by fused_vec <=> cad.embed_text('bolt') limit 5"
    ).fetchall()
    assert any("space_cad_default_fused_vec_idx" in line for (line,) in plan)


def test_an_unknown_mode_is_refused(db: Connection) -> None:
    db.execute("set pgcad.encoder = 'sideways'")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="sideways"):
        db.execute("select cad.embed_text('x')")
