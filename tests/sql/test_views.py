"""The views that BI tools read."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import insert, random_part

Database = psycopg.Connection[Any]
VIEWS = ("part", "family_summary", "ingest_status")


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_has_a_comment(db: Database, view: str) -> None:
    bare = db.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
        " and col_description(attrelid, attnum) is null",
        [f"cad.{view}"],
    ).fetchall()
    assert bare == []
    assert db.execute("select obj_description(%s::regclass)", [f"cad.{view}"]).fetchone() != (None,)


def test_part_and_family_summary(db: Database) -> None:
    rng = np.random.default_rng(5)
    parts = [random_part(rng, number) for number in range(40)]
    insert(db, parts)
    bolts = [part for part in parts if part.family == "bolt"]
    row = db.execute(
        "select parts, assemblies, largest_length_mm, total_mass_kg from cad.family_summary where family = 'bolt'"
    ).fetchone()
    assert row == (
        len(bolts),
        sum(part.kind == "assembly" for part in bolts),
        pytest.approx(max(part.size_mm[2] for part in bolts)),
        pytest.approx(sum(part.mass_kg or 0 for part in bolts)),
    )
    row = db.execute(
        "select name, length_mm, width_mm, height_mm from cad.part where part_number = %s", [bolts[0].number]
    ).fetchone()
    assert row == (bolts[0].name, pytest.approx(bolts[0].size_mm[2]), 8, 4)


@pytest.mark.usefixtures("scripted")
def test_ingest_status_counts_by_reason(db: Database) -> None:
    db.execute(
        "insert into cad.ingest (source_uri, format, content, sha256)"
        " select 'file ' || n, 'step', convert_to(case when n < 3 then 'fail 22023' else 'part ' || n end, 'utf8'), ''"
        " from generate_series(1, 5) as n"
    )
    db.execute("call cad.ingest_pending()")
    rows = db.execute("select state, outcome, last_sqlstate, files from cad.ingest_status order by state").fetchall()
    assert rows == [("done", "new", None, 3), ("failed", None, "22023", 2)]


def test_readers_see_the_views_under_row_level_security(db: Database) -> None:
    rng = np.random.default_rng(6)
    insert(db, [random_part(rng, number) for number in range(30)])
    db.execute("create role dashboard")
    try:
        db.execute("select cad.grant_to('dashboard', 'reader')")
        db.execute("alter table cad.model enable row level security")
        db.execute("create policy nuts on cad.model to dashboard using (family = 'nut')")
        db.execute("set role dashboard")
        assert db.execute("select distinct family from cad.part").fetchall() == [("nut",)]
        assert db.execute("select family from cad.family_summary").fetchall() == [("nut",)]
        assert db.execute("select count(*) from cad.ingest_status").fetchone() == (0,)
    finally:
        db.execute("reset role")
        db.execute("drop owned by dashboard")
        db.execute("drop role dashboard")
