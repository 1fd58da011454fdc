"""The service killed, hung and absent, seen from SQL: a clear error, nothing lost, neither backend nor server anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from pgcad.client import ServiceError
from psycopg import errors
from service_doubles.process import ServiceProcess, eventually

Connection = psycopg.Connection[Any]

# Every function that waits for the service, as a query.
WAITING = {
    "embed_text": "select cad.embed_text('nut')",
    "embed_texts": "select * from cad.embed_texts('{nut,bolt}')",
    "embed_image": r"select cad.embed_image('\x01')",
    "embed_images": r"select * from cad.embed_images(array['\x01', '\x02']::bytea[])",
    "embed_points": "select cad.embed_points('{{1,2,3},{4,5,6},{7,8,10},{0,0,0}}')",
    "embed_shape": r"select cad.embed_shape('\x01', 'step')",
    "encoder_health": "select cad.encoder_health()",
    "search_cad": "select * from cad.search_cad('nut', 3)",
    "search_cad_image": r"select * from cad.search_cad_image('\x01', 3)",
    "search_cad_shape": r"select * from cad.search_cad_shape('\x01', 'step', 3)",
    "search_cad_points": "select * from cad.search_cad_points('{{1,2,3},{4,5,6},{7,8,10},{0,0,0}}', 3)",
    "search_cad_multi": r"select * from cad.search_cad_multi('nut', '\x01', null, null, 3)",
    "ingest_pending": "call cad.ingest_pending()",
    "reembed": "call cad.reembed('cad')",
    "explain_search": "select * from cad.explain_search('nut')",
    "doctor": "select * from cad.doctor()",
}
SHOWN_BY_ITS_ROWS = "select * from cad.doctor()"
waiting = pytest.mark.parametrize("query", WAITING.values(), ids=WAITING.keys())


@pytest.fixture(autouse=True)
def nothing_restarted(db: Connection) -> Iterator[None]:
    """Whatever a test does: the same backend and the same server are there afterwards."""
    identity = "select pg_backend_pid(), pg_postmaster_start_time()"
    before = db.execute(identity).fetchone()
    yield
    assert db.execute(identity).fetchone() == before


def queue(db: Connection, *contents: bytes) -> None:
    for content in contents:
        db.execute(
            "insert into cad.ingest (source_uri, format, content) values (%s, 'step', %s)", [content.decode(), content]
        )


def states(db: Connection) -> dict[str, str]:
    return dict(db.execute("select source_uri, state from cad.ingest").fetchall())


def later(work: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(0.4, work)
    timer.start()
    return timer


@waiting
def test_a_statement_timeout_ends_the_wait_for_a_hung_service(db: Connection, hung: ServiceProcess, query: str) -> None:
    queue(db, b"waiting")
    db.execute("set statement_timeout = '300ms'")
    with pytest.raises(errors.QueryCanceled, match="statement timeout"):
        db.execute(query)
    db.execute("reset statement_timeout")


@waiting
def test_a_cancel_ends_the_wait_for_a_hung_service(db: Connection, hung: ServiceProcess, query: str) -> None:
    queue(db, b"waiting")
    cancel = later(db.cancel_safe)
    with pytest.raises(errors.QueryCanceled, match="user request"):
        db.execute(query)
    cancel.join()


def test_a_hung_service_that_goes_on_serves_on(db: Connection, hung: ServiceProcess) -> None:
    queue(db, b"waiting")
    db.execute("set statement_timeout = '300ms'")
    with pytest.raises(errors.QueryCanceled):
        db.execute("call cad.ingest_pending()")
    db.execute("reset statement_timeout")
    assert states(db) == {"waiting": "pending"}
    hung.front().resume()
    db.execute("call cad.ingest_pending()")
    assert states(db) == {"waiting": "done"}


@waiting
def test_an_absent_service_is_named_as_the_reason(db: Connection, query: str) -> None:
    queue(db, b"waiting")
    db.execute("set pgcad.socket = '/nowhere/encoder.sock'")
    if query == SHOWN_BY_ITS_ROWS:
        rows = db.execute(query).fetchall()
        assert [(status, "pgcad serve" in hint) for check, status, _, hint in rows if check == "encoder service"] == [
            ("error", True)
        ]
    elif query in (WAITING["search_cad"], WAITING["explain_search"]):
        notices: list[str] = []
        db.add_notice_handler(lambda notice: notices.append(notice.severity_nonlocalized or ""))
        db.execute(query)
        assert notices == ["WARNING"]
    else:
        with pytest.raises(psycopg.OperationalError) as failure:
            db.execute(query)
        assert failure.value.sqlstate == "08001"
        assert "pgcad serve" in (failure.value.diag.message_hint or "")
    assert states(db) == {"waiting": "pending"}


def test_killed_in_the_middle_of_a_query(db: Connection, supervised: ServiceProcess) -> None:
    query = "select cad.embed_shape('hang'::bytea, 'step')"
    kill = later(lambda: supervised.front().kill())
    with pytest.raises(psycopg.OperationalError) as failure:
        db.execute(query)
    kill.join()
    assert failure.value.sqlstate == "08006"
    eventually(supervised.answers)
    assert db.execute("select cad.embed_shape('nut'::bytea, 'step') is not null").fetchone() == (True,)


def test_killed_in_the_middle_of_ingest(db: Connection, supervised: ServiceProcess) -> None:
    contents = [b"part %d" % number for number in range(12)]
    queue(db, *contents[:6], b"slow", *contents[6:])
    kill = later(lambda: supervised.front().kill())
    deadline = time.monotonic() + 60
    seen = []
    while set(states(db).values()) != {"done"}:
        try:
            db.execute("call cad.ingest_pending()")
        except psycopg.OperationalError as error:
            seen.append(error.sqlstate)
            assert "failed" not in states(db).values()
            assert time.monotonic() < deadline
            time.sleep(0.1)
    kill.join()
    assert seen[0] == "08006"  # it was in the middle, and said so
    assert set(seen) <= {"08001", "08006"}
    assert db.execute("select count(*), count(distinct sha256) from cad.model").fetchone() == (13, 13)


def test_a_worker_killed_in_the_middle_of_ingest_costs_one_file(db: Connection, supervised: ServiceProcess) -> None:
    queue(db, b"first", b"hang", b"second")

    def kill_worker() -> None:
        eventually(supervised.is_busy)
        [worker] = supervised.front().children()
        worker.kill()

    kill = threading.Timer(1.0, kill_worker)
    kill.start()
    db.execute("call cad.ingest_pending()")
    kill.join()
    assert states(db) == {"first": "done", "hang": "failed", "second": "done"}
    failed = db.execute("select last_sqlstate, last_error from cad.ingest where state = 'failed'").fetchone()
    assert failed is not None
    assert failed[0] == "58000"
    assert "SIGKILL" in failed[1]


def test_stopped_in_the_middle_of_a_query(db: Connection, supervised: ServiceProcess) -> None:
    stop = later(supervised.process.terminate)
    assert db.execute("select cad.embed_shape('slow'::bytea, 'step') is not null").fetchone() == (True,)
    stop.join()
    supervised.process.wait(30)
    with pytest.raises(psycopg.OperationalError) as failure:
        db.execute("select cad.embed_text('nut')")
    assert failure.value.sqlstate == "08001"
    with pytest.raises(ServiceError):
        supervised.health()
