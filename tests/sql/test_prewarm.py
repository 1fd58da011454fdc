"""Indexes are read into memory on request."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import insert, random_part

Database = psycopg.Connection[Any]


@pytest.fixture
def parts(db: Database) -> None:
    """300 parts, those of one family in a partition of its own."""
    rng = np.random.default_rng(7)
    insert(db, [random_part(rng, number) for number in range(300)])
    db.execute("call cad.promote_family('bolt')")


@pytest.fixture
def pg_prewarm(db: Database) -> None:
    db.execute("create schema elsewhere")
    db.execute("create extension pg_prewarm schema elsewhere")


@pytest.mark.usefixtures("parts", "pg_prewarm")
def test_all_of_every_index_is_read(db: Database) -> None:
    sizes = dict(db.execute("select index::text, size_bytes from cad.index_health").fetchall())
    warmed = db.execute("select relation::text, bytes, bytes / blocks from cad.prewarm('cad')").fetchall()
    assert {name: size for name, size, _ in warmed} == sizes and len(sizes) == 2
    assert {block for _, _, block in warmed} == {8192}


@pytest.mark.usefixtures("parts", "pg_prewarm")
def test_vectors_are_read_before_the_indexes(db: Database) -> None:
    warmed = [name for (name,) in db.execute("select relation::text from cad.prewarm('cad', true)").fetchall()]
    assert ["idx" in name for name in warmed] == [False, False, True, True]
    db.execute("create extension pg_buffercache")
    cold = db.execute(
        "select c.relname from pg_class as c where c.oid::regclass::text = any(%s) and c.relpages > 0"
        " and not exists (select from pg_buffercache as b where b.relfilenode = pg_relation_filenode(c.oid))",
        [warmed],
    ).fetchall()
    assert cold == []


@pytest.mark.usefixtures("parts", "pg_prewarm")
def test_too_little_memory_is_said(db: Database) -> None:
    warnings: list[str] = []
    db.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    db.execute("select * from cad.prewarm('cad')")
    assert warnings == []
    db.execute("create function elsewhere.much(relation regclass) returns bigint language sql as 'select 1000000'")
    db.execute(
        "create or replace function cad._prewarm_function() returns text language sql as $$select 'elsewhere.much'$$"
    )
    db.execute("select * from cad.prewarm('cad')")
    assert len(warnings) == 1 and "shared_buffers is 512 MB" in warnings[0]


def test_without_the_extension_it_says_what_to_do(db: Database) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="pg_prewarm is not in this database") as refused:
        db.execute("select * from cad.prewarm('cad')")
    hint = refused.value.diag.message_hint or ""
    db.execute(hint[hint.index("create extension") :])
    db.execute("select * from cad.prewarm('cad')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no space nowhere"):
        db.execute("select * from cad.prewarm('nowhere')")
