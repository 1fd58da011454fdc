"""A disk that is really full while a large load is finished: the old index serves on, and the load can be given up."""

from __future__ import annotations

import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, search
from pgcad_load.cluster import SUPERUSER
from small_disk import mounted


@pytest.fixture
def small_disk(db: psycopg.Connection[Any]) -> Iterator[None]:
    """A tablespace of two megabytes, named little."""
    with tempfile.TemporaryDirectory(prefix="pgcad-disk-") as folder:
        Path(folder).chmod(0o755)
        disk = Path(folder) / "disk"
        disk.mkdir()
        with mounted(disk, 2, pwd.getpwnam(SUPERUSER).pw_uid):
            db.execute(f"create tablespace little location '{disk}'")
            yield
            db.execute("drop tablespace little")


@pytest.fixture
def staged(db: psycopg.Connection[Any]) -> Part:
    """One of 500 parts, whose vectors are staged once more."""
    rng = np.random.default_rng(3)
    parts = [random_part(rng, number) for number in range(500)]
    insert(db, parts)
    db.execute("select cad.begin_load('cad')")
    db.execute("insert into cad.space_cad_staged select * from cad.space_cad")
    return parts[0]


def finds(db: psycopg.Connection[Any], part: Part) -> bool:
    """Whether a search by the index finds a part by its own vector."""
    vector = part.vectors["fused"]
    assert vector is not None
    [(number, _)] = search(db, vector, 1, options={"strategy": "hnsw", "against": "fused"})
    return number == part.number


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_fills_up_leaves_the_old_index_at_work(db: psycopg.Connection[Any], staged: Part) -> None:
    before = db.execute("select pg_postmaster_start_time()").fetchone()
    db.execute("set default_tablespace = little")
    with pytest.raises(psycopg.errors.DiskFull) as failure:
        db.execute("call cad.finish_load('cad')")
    assert "goes on from there" in (failure.value.diag.message_hint or "")
    assert finds(db, staged)
    assert db.execute("select pg_postmaster_start_time()").fetchone() == before
    db.execute("reset default_tablespace")
    db.execute("select cad.cancel_load('cad')")
    assert finds(db, staged)


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_fills_up_while_the_index_is_built_is_only_a_pause(
    db: psycopg.Connection[Any], staged: Part
) -> None:
    db.execute("alter function cad._index_next(text) rename to _index_later")  # so that the copies have room elsewhere
    with pytest.raises(psycopg.errors.UndefinedFunction):
        db.execute("call cad.finish_load('cad')")
    db.execute("alter function cad._index_later(text) rename to _index_next")
    db.execute("create table filler tablespace little as select repeat('x', 1000) from generate_series(1, 1500)")
    db.execute("set default_tablespace = little")
    with pytest.raises(psycopg.errors.DiskFull) as failure:
        db.execute("call cad.finish_load('cad')")
    assert "goes on from there" in (failure.value.diag.message_hint or "")
    assert finds(db, staged)
    db.execute("reset default_tablespace")
    db.execute("drop table filler")
    db.execute("call cad.finish_load('cad')")
    assert finds(db, staged)
    assert db.execute("select to_regclass('cad.space_cad_staged'), to_regclass('cad.space_cad_next')").fetchone() == (
        None, None,
    )  # fmt: skip
