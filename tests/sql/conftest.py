"""Fixtures of the SQL tests: a scripted encoder service, and a database that talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from pgcad_load.cluster import LocalCluster
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService


@pytest.fixture
def scripted(cluster: LocalCluster, db: psycopg.Connection[Any]) -> Iterator[ScriptedService]:
    """A scripted service that the database of `db` talks to, in this session and in those to come."""
    path = cluster.socket_dir / f"{db.info.dbname}.sock"
    service = ScriptedService(path)
    db.execute(f"alter database {db.info.dbname} set pgcad.socket = '{path}'")
    db.execute(f"set pgcad.socket = '{path}'")
    yield service
    if path.exists():
        service.close()


@pytest.fixture
def load_numbered(db: psycopg.Connection[Any], scripted: ScriptedService) -> Callable[[int], None]:
    """A function that loads so many parts, P-0, P-1, …; the points and silhouettes of each say which it is."""

    def load(count: int) -> None:
        for number in range(count):
            db.execute(
                "insert into cad.ingest (source_uri, format, content, metadata) values ('x', 'step', %s, %s)",
                [b"part %d" % number, Jsonb({"part_number": f"P-{number}", "description": "a thing"})],
            )
        db.execute("call cad.ingest_pending()")
        db.execute(
            "update cad.artifact as a set content = convert_to(m.part_number, 'UTF8')"
            " from cad.model as m where m.model_id = a.model_id and a.role in ('points', 'silhouettes')"
        )

    return load
