"""Encoders as SQL functions: what they return, how they fail, how they end when they must."""

from __future__ import annotations

import json
import struct
import threading
import time
from typing import Any

import known_parts
import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb
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


@pytest.mark.parametrize("call", ["cad.embed_points({})", "cad.search_cad_points({})"])
def test_a_cloud_over_the_limit_is_refused_here(db: Connection, scripted: ScriptedService, call: str) -> None:
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="1000001 points, more than 1000000") as failure:
        db.execute(f"select {call.format('array_fill(1::real, array[1000001, 3])')}")
    assert failure.value.diag.message_hint


def test_a_large_cloud_arrives_whole(db: Connection, scripted: ScriptedService) -> None:
    cloud = struct.pack("<150000f", *(float(number) for number in range(150_000)))
    points = "select array_agg(array[n, n + 1, n + 2]::real[] order by n) from generate_series(0, 149999, 3) as n"
    assert json.loads(one(db, f"select cad.embed_points(({points}))")) == numbers(cloud)


@pytest.mark.parametrize(
    ("batch", "sqlstate"),
    [
        (r"cad.embed_images(array[null, '\x01']::bytea[])", "22004"),
        (r"cad.embed_images(array[['\x01'], ['\x02']]::bytea[])", "22023"),
        ("cad.embed_texts(array['bolt', null])", "22004"),
        ("cad.embed_texts(array[['bolt'], ['nut']])", "22023"),
    ],
)
def test_a_batch_is_a_plain_list(db: Connection, scripted: ScriptedService, batch: str, sqlstate: str) -> None:
    with pytest.raises(psycopg.Error) as failure:
        db.execute(f"select * from {batch}")
    diagnosis = failure.value.diag
    assert (diagnosis.sqlstate, (diagnosis.message_primary or "")[:9]) == (sqlstate, "the array")
    assert diagnosis.message_hint
    assert "Traceback" not in (diagnosis.context or "")


@pytest.mark.parametrize(
    "query",
    [
        "select cad.embed_text(name) from cad.model",
        "select name from cad.model where cad.embed_text(name) is not null",
        "select h.name from cad.model as m, cad.search_cad(m.name, 1, filters => %s) as h",
    ],
)
def test_no_parallel_plan_has_an_encoder_in_it(db: Connection, scripted: ScriptedService, query: str) -> None:
    scripted.version = known_parts.VERSION
    known_parts.insert(db, [known_parts.random_part(np.random.default_rng(1), number) for number in range(20)])
    db.execute("analyze cad.model")
    for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
        db.execute(f"set {setting} = 0")
    assert "Gather" in str(db.execute("explain select name from cad.model").fetchall())
    parameters = [Jsonb({"created_at": {"from": "2000-01-01"}})] if "%s" in query else None
    assert len(db.execute(query, parameters).fetchall()) == 20


def test_health_is_the_services_own_word(db: Connection, scripted: ScriptedService) -> None:
    health = one(db, "select cad.encoder_health()")
    assert health["spaces"] == {"cad": {"version": "scripted-1", "dim": 512}}
    assert "id" not in health


def test_the_health_of_a_hung_service_is_known_soon(db: Connection, scripted: ScriptedService) -> None:
    scripted.health = lambda header, payloads: None  # type: ignore[method-assign]
    with pytest.raises(psycopg.errors.QueryCanceled, match="did not answer within 2000 ms"):
        db.execute("select cad.encoder_health()")
    check = "select status, detail from cad.doctor() where check_name = 'encoder service'"
    assert db.execute(check).fetchone() == ("error", "the encoder service did not answer within 2000 ms")


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


@pytest.mark.parametrize("setting", ["timeout_ms", "ingest_timeout_ms"])
@pytest.mark.parametrize("value", ["30s", "-1", "0", "1e3", "4294967296", "0x10"])
def test_a_timeout_is_a_whole_number(db: Connection, scripted: ScriptedService, setting: str, value: str) -> None:
    db.execute(f"set pgcad.{setting} = '{value}'")
    db.execute("insert into cad.ingest (source_uri, format, content) values ('a', 'step', 'a')")
    call = "select cad.embed_text('x')" if setting == "timeout_ms" else "call cad.ingest_pending()"
    with pytest.raises(psycopg.errors.InvalidParameterValue) as failure:
        db.execute(call)
    assert failure.value.diag.message_primary == f"pgcad.{setting} cannot be '{value}'"
    assert "milliseconds" in (failure.value.diag.message_hint or "")


def test_an_error_has_no_empty_lines(db: Connection, scripted: ScriptedService) -> None:
    """A hint always, a detail where there is one."""
    for call in ("cad._encode('cad', 'fail 22023')", "cad._encode('cad', 'bare 22023')"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="this file is refused") as failure:
            db.execute(f"select {call}")
        assert failure.value.diag.message_detail is None
        assert failure.value.diag.message_hint


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
