"""Fixtures of the SQL tests: a scripted encoder service, and a database that talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pgcad_load.cluster import LocalCluster
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
