"""Fixtures: a private cluster on a temporary folder, a fresh database for each test, the encoder service on demand.

`cluster`  the running LocalCluster (once per session)
`service`  the same, with an encoder service that answers; only tests that ask for it pay for it
`db`       an autocommit psycopg connection to a fresh database that has the extension
`dsn`      the connection string of that database, for programs and further connections
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from filelock import FileLock
from pgcad_load.cluster import SUPERUSER, LocalCluster
from pytest_postgresql.janitor import DatabaseJanitor
from small_disk import may_mount

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = "pgcad_template"
NUMBERS = count(1)

collect_ignore = [] if may_mount() else ["faults/test_full_disk.py", "faults/test_full_disk_load.py"]


def pytest_report_header() -> list[str]:
    """What is left out; a disk that only says it is full is tested everywhere (tests/sql/test_ingest.py)."""
    return [f"no right to mount a small disk: without tests/{file}" for file in collect_ignore]


@pytest.fixture(scope="session")
def installed_extension(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> None:
    """The extension's files, built from this checkout and installed into the server: once for all workers of a run."""
    done = tmp_path_factory.getbasetemp().parent / f"installed-{testrun_uid}"
    with FileLock(done.with_suffix(".lock")):
        if not done.exists():
            subprocess.run([sys.executable, ROOT / "extensions" / "build.py", "--install"], check=True, cwd=ROOT)
            done.touch()


@pytest.fixture(scope="session")
def cluster(installed_extension: None) -> Iterator[LocalCluster]:
    """A private cluster without durability; it and whatever service was started are stopped at the end."""
    state = Path(tempfile.mkdtemp(prefix="pgcad-test-"))
    cluster = LocalCluster.at(state, durable=False)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop_service()
        cluster.stop()
        shutil.rmtree(state)


@pytest.fixture(scope="session")
def template(cluster: LocalCluster) -> str:
    """A database that has the extension, to be cloned: that is ten times as quick as creating it anew."""
    cluster.create_database(TEMPLATE)
    return TEMPLATE


@pytest.fixture
def dsn(cluster: LocalCluster, template: str) -> Iterator[str]:
    """Connection string of a fresh database; the database is dropped after the test."""
    name = f"test_{next(NUMBERS)}"
    janitor = DatabaseJanitor(
        user=SUPERUSER, host=str(cluster.socket_dir), port=cluster.port, dbname=name, template_dbname=template
    )
    with janitor:
        cluster.set_defaults(name)
        yield cluster.dsn(name)


@pytest.fixture
def db(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit connection to a fresh database, as superuser."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def service(cluster: LocalCluster) -> LocalCluster:
    """The cluster with its encoder service running; a service that an earlier test has stopped is started again."""
    cluster.start_service()
    cluster.wait_for_service()
    return cluster
