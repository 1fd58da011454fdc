"""cad.reembed through the real service while a provider of embeddings or the service itself fails half-way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from service_doubles.process import ServiceProcess, eventually
from service_doubles.provider import Provider, Reply, provider

Connection = psycopg.Connection[Any]


@pytest.fixture
def remote() -> Iterator[Provider]:
    """A provider of embeddings of eight numbers."""
    with provider() as running:
        yield running


@pytest.fixture
def parts(db: Connection, supervised: ServiceProcess, remote: Provider) -> Connection:
    """Six parts that somebody described, and a space of that provider without vectors."""
    for number in range(6):
        db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata) values (%s, 'step', %s, %s)",
            [f"{number}", b"part %d" % number, Jsonb({"description": f"box number {number}"})],
        )
    db.execute("call cad.ingest_pending()")
    encoder = {"dialect": "openai", "url": remote.url, "model": "m", "modalities": ["text"], "retries": 0, "batch": 1}
    db.execute("select cad.add_space('far', 8, 'http', %s)", [Jsonb(encoder)])
    return db


def kept(db: Connection, table: str) -> int:
    """Parts in a table of vectors."""
    [(number,)] = db.execute(f"select count(*) from cad.{table}").fetchall()
    return int(number)


def test_a_provider_that_fails_half_way_through_a_batch(parts: Connection, remote: Provider) -> None:
    """The second of three batches fails at its second text: nothing of it is written, and the next call goes on."""
    usual = remote.otherwise
    remote.otherwise = lambda body: Reply(status=500) if len(remote.received) > 3 else usual(body)
    with pytest.raises(psycopg.OperationalError) as failure:
        parts.execute("call cad.reembed('far', 2)")
    assert failure.value.sqlstate == "08006"
    assert "call cad.reembed('far')" in (failure.value.diag.message_hint or "")
    assert (kept(parts, "space_far"), kept(parts, "space_far_next")) == (0, 2)
    before = len(remote.received)
    remote.otherwise = usual
    parts.execute("call cad.reembed('far', 2)")
    assert len(remote.received) - before == 4
    assert kept(parts, "space_far") == 6
    options = Jsonb({"space": "far", "against": "text"})
    texts = "select name, cad._passage(name, description, description_zh, description_generated) from cad.model"
    for part, text in parts.execute(texts):
        found = parts.execute("select name, text_score from cad.search_cad(%s, 1, options => %s)", [text, options])
        assert found.fetchone() == (part, pytest.approx(1, abs=2e-3))


def test_a_service_that_is_killed_half_way(parts: Connection, supervised: ServiceProcess, remote: Provider) -> None:
    usual = remote.otherwise

    def gated(body: dict[str, Any]) -> Reply:
        if len(remote.received) == 3:
            threading.Thread(target=supervised.front().kill).start()
            remote.let.clear()
            remote.let.wait(5)
        return usual(body)

    remote.otherwise = gated
    with pytest.raises(psycopg.OperationalError) as failure:
        parts.execute("call cad.reembed('far', 2)")
    assert failure.value.sqlstate == "08006"
    remote.otherwise = usual
    remote.let.set()
    assert (kept(parts, "space_far"), kept(parts, "space_far_next")) == (0, 2)
    eventually(supervised.answers)
    parts.execute("call cad.reembed('far', 2)")
    assert kept(parts, "space_far") == 6
