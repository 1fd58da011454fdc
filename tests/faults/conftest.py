"""Fixtures of the fault tests: the real service around small doubles, in the hands of the test."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pgcad_load.cluster import SUPERUSER
from service_doubles.process import ServiceProcess


@contextlib.contextmanager
def supervised_service() -> Iterator[ServiceProcess]:
    """A supervised service on a socket that the server's user may reach."""
    group = ["--group", SUPERUSER] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="pgcad-") as folder:
        Path(folder).chmod(0o755)
        service = ServiceProcess(Path(folder), "--supervise", "--workers", "1", *group)
        yield service
        service.stop()


def point(db: psycopg.Connection[Any], service: ServiceProcess) -> None:
    """Make the database of `db` talk to `service`, in this session and in those to come."""
    db.execute(f"alter database {db.info.dbname} set pgcad.socket = '{service.path}'")
    db.execute(f"set pgcad.socket = '{service.path}'")


@pytest.fixture
def supervised(db: psycopg.Connection[Any]) -> Iterator[ServiceProcess]:
    """A service of the test's own, to be killed."""
    with supervised_service() as service:
        point(db, service)
        yield service


@pytest.fixture(scope="module")
def lasting() -> Iterator[ServiceProcess]:
    """One service for all tests that leave it alive."""
    with supervised_service() as service:
        yield service


@pytest.fixture
def hung(lasting: ServiceProcess, db: psycopg.Connection[Any]) -> Iterator[ServiceProcess]:
    """The lasting service, stopped by SIGSTOP while the session has its connection to it open."""
    point(db, lasting)
    db.execute("select cad.embed_text('warm up')")
    lasting.front().suspend()
    yield lasting
    lasting.front().resume()
