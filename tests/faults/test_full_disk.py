"""A disk that is really full where the files of parts lie: nothing is lost, nothing restarts, room is all it takes."""

from __future__ import annotations

import pwd
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pgcad_load.cluster import SUPERUSER
from psycopg.types.json import Jsonb
from service_doubles.process import ServiceProcess
from small_disk import mounted

DISK_MB, FILE_BYTES = 8, 3_000_000


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of a few megabytes that belongs to the server's user."""
    with tempfile.TemporaryDirectory(prefix="pgcad-disk-") as folder:
        Path(folder).chmod(0o755)
        disk = Path(folder) / "disk"
        disk.mkdir()
        with mounted(disk, DISK_MB, pwd.getpwnam(SUPERUSER).pw_uid):
            yield disk


@pytest.fixture
def artifacts_on_small_disk(db: psycopg.Connection[Any], small_disk: Path) -> Iterator[None]:
    db.execute(f"create tablespace small_disk location '{small_disk}'")
    db.execute("alter table cad.artifact set tablespace small_disk")
    yield
    db.execute("alter table cad.artifact set tablespace pg_default")
    db.execute("drop tablespace small_disk")


@pytest.mark.usefixtures("artifacts_on_small_disk")
def test_parts_wait_for_room_on_a_full_disk(db: psycopg.Connection[Any], supervised: ServiceProcess) -> None:
    names = [f"part {number}" for number in range(6)]
    for name in names:
        content = random.Random(name).randbytes(FILE_BYTES // 2).hex().encode()
        db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata) values (%s, 'step', %s, %s)",
            [name, content, Jsonb({"name": name})],
        )
    identity = "select pg_backend_pid(), pg_postmaster_start_time()"
    before = db.execute(identity).fetchone()

    with pytest.raises(psycopg.errors.DiskFull) as failure:
        db.execute("call cad.ingest_pending(batch_size => 1)")
    assert "Make room" in (failure.value.diag.message_hint or "")
    assert db.execute(identity).fetchone() == before
    states = dict(db.execute("select state, count(*) from cad.ingest group by 1").fetchall())
    assert states.keys() == {"done", "pending"}
    assert sum(states.values()) == len(names)

    db.execute("alter table cad.artifact set tablespace pg_default")
    db.execute("call cad.ingest_pending()")
    assert db.execute("select distinct state from cad.ingest").fetchall() == [("done",)]
    assert db.execute("select count(*) from cad.artifact where role = 'original'").fetchone() == (len(names),)
