"""What an index will cost is known before it is made, and one without room is refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

Database = psycopg.Connection[Any]

PARTS = 1500
KINDS = {"hnsw": {}, "prefix": {"dim": 128, "m": 60, "ef_construction": 120}, "bit": {"m": 8}, "ivfflat": {"lists": 20}}


@pytest.fixture
def parts(db: Database) -> None:
    """Parts with random vectors."""
    db.execute(
        "insert into cad.model (name, kind, format, family, sha256)"
        " select 'x', 'part', 'step', 'any', sha256(int4send(n)) from generate_series(1, %s) as n",
        [PARTS],
    )
    db.execute(
        "insert into cad.space_cad (model_id, family, fused_vec, encoder_version)"
        " select m.model_id, m.family, array_agg(random() - 0.5)::vector(512)::halfvec(512), 'random'"
        " from cad.model as m cross join generate_series(1, 512) group by m.model_id"
    )
    db.execute("analyze cad.space_cad_default")


def add(db: Database, kind: str) -> None:
    db.execute("call cad.add_index('cad', %s, %s)", [kind, Jsonb(KINDS[kind])])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("parts")
def test_the_size_is_what_was_predicted(db: Database, kind: str) -> None:
    add(db, kind)
    plan = "select size_bytes, stands, fits from cad.index_plan('cad') where kind = %s"
    [(predicted, stands, fits)] = db.execute(plan, [kind]).fetchall()
    [(actual,)] = db.execute("select sum(size_bytes) from cad.index_health where kind = %s", [kind]).fetchall()
    assert predicted == pytest.approx(float(actual), rel=0.2)
    assert (stands, fits) == (True, True)


@pytest.mark.parametrize("kind", ["hnsw", "prefix"])
@pytest.mark.usefixtures("parts")
def test_a_build_takes_the_memory_that_was_predicted(db: Database, kind: str) -> None:
    """pgvector says when the graph no longer fits; it counts in megabytes."""
    notices: list[str] = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    parameters = {"m": 16, "ef_construction": 100, **KINDS[kind]}
    [(needed,)] = db.execute("select cad._build_bytes(%s, %s, 512, %s)", [kind, Jsonb(parameters), PARTS]).fetchall()
    for share, fits in ((1.2, True), (0.7, False)):
        notices.clear()
        db.execute("select set_config('maintenance_work_mem', %s, false)", [f"{int(needed * share / 1024)}kB"])
        db.execute("select cad._create_vector_index('space_cad_default', %s, %s, 512)", [kind, Jsonb(parameters)])
        assert (not any("no longer fits" in notice for notice in notices)) == fits, (share, notices)


@pytest.mark.usefixtures("parts")
def test_an_index_that_does_not_fit_the_memory_is_refused(db: Database) -> None:
    db.execute("set maintenance_work_mem = '1MB'")
    assert db.execute("select fits from cad.index_plan('cad') where kind = 'hnsw'").fetchall() == [(False,)]
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="maintenance_work_mem is 1MB") as refused:
        add(db, "hnsw")
    assert db.execute("select status from cad.doctor() where check_name = 'vector indexes'").fetchall() == [("ok",)]
    hint = refused.value.diag.message_hint or ""
    db.execute(hint[hint.index("set ") : hint.index(";")])
    add(db, "hnsw")
    assert db.execute("select valid from cad.index_health where kind = 'hnsw'").fetchall() == [(True,)]


@pytest.mark.usefixtures("parts")
def test_an_index_that_does_not_fit_the_disk_is_refused(db: Database) -> None:
    db.execute("create or replace function cad._disk_free_bytes() returns bigint language sql as 'select 1000000'")
    with pytest.raises(psycopg.errors.DiskFull, match="more than the 977 kB that are free"):
        add(db, "prefix")
    assert db.execute("select kind from cad.index_health").fetchall() == [("hnsw",)]


def test_an_empty_space_has_a_plan_and_an_unknown_one_has_none(db: Database) -> None:
    db.execute("select cad.add_space('tiny', 3)")
    for space in ("cad", "tiny"):
        plan = db.execute("select kind, fits from cad.index_plan(%s)", [space]).fetchall()
        assert plan == [("bit", True), ("hnsw", True), ("ivfflat", True), ("prefix", True)]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no space nowhere"):
        db.execute("select * from cad.index_plan('nowhere')")


def test_there_is_room_on_the_disk(db: Database) -> None:
    [(free,)] = db.execute("select cad._disk_free_bytes()").fetchall()
    assert free > 1_000_000
