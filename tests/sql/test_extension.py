"""The extension as an object: what it holds, where it can live, what it leaves behind, what doctor says of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pgcad_load.cluster import LocalCluster
from service_doubles.scripted import ScriptedService
from sql_catalogue import assert_snapshot, members

Connection = psycopg.Connection[Any]
ROOT = Path(__file__).resolve().parents[2]


def queue(db: Connection, family: str, files: int) -> None:
    """Queue that many files, named 1, 2, …"""
    db.execute(
        "insert into cad.ingest (source_uri, format, content, metadata)"
        " select n::text, 'step', convert_to(%s || n, 'utf8'), jsonb_build_object('family', %s::text, 'name', n::text)"
        " from generate_series(1, %s) as n",
        [family, family, files],
    )


def load(db: Connection, family: str, files: int) -> None:
    queue(db, family, files)
    db.execute("call cad.ingest_pending()")


def test_members_are_the_committed_ones(db: Connection) -> None:
    assert_snapshot("members.txt", members(db))


def test_every_public_object_has_a_comment(db: Connection) -> None:
    silent = db.execute(
        """
        select p.oid::regprocedure::text from pg_proc as p
        where p.pronamespace = 'cad'::regnamespace and obj_description(p.oid, 'pg_proc') is null
        union all
        select c.oid::regclass || coalesce('.' || a.attname, '')
        from pg_class as c left join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'cad'::regnamespace and c.relkind in ('r', 'p', 'v')
            and (obj_description(c.oid, 'pg_class') is null or col_description(c.oid, a.attnum) is null)
            and not c.relispartition
        """
    ).fetchall()
    assert silent == []


def test_every_function_pins_the_same_search_path(db: Connection) -> None:
    """All but those that commit, that must see the caller's path, or whose body was bound when it was made."""
    pins = db.execute(
        """
        select coalesce(setting, 'none'), array_agg(p.proname::text order by p.proname)
        from pg_proc as p left join unnest(p.proconfig) as setting on setting like 'search_path=%%'
        where p.pronamespace = 'cad'::regnamespace and p.prosqlbody is null
        group by 1 order by 1
        """
    ).fetchall()
    assert [pin for pin, _ in pins] == ["none", "search_path=pg_catalog, cad, public, pg_temp"]
    assert pins[0][1] == [
        "_add_index", "_commit", "_encode_parts", "_refuse_in_transaction", "add_index", "doctor", "encode_parts",
        "finish_load", "ingest_pending", "load_resident", "promote_family", "reembed", "refresh_resident",
        "train_codes", "use_profile",
    ]  # fmt: skip


def test_drop_leaves_nothing(db: Connection, scripted: ScriptedService) -> None:
    load(db, "b", 1)
    db.execute("call cad.promote_family('b')")
    db.execute("drop extension pgcad")
    assert db.execute("select to_regnamespace('cad')").fetchone() == (None,)
    db.execute("create extension pgcad")


def test_a_schema_of_somebody_else_is_refused(db: Connection) -> None:
    """What stands in it could be called by functions that run with the rights of the extension's owner."""
    db.execute("drop extension pgcad")
    db.execute("create schema cad")
    with pytest.raises(psycopg.errors.DuplicateSchema, match="schema cad exists") as failure:
        db.execute("create extension pgcad")
    assert "drop schema cad" in (failure.value.diag.message_hint or "")
    db.execute("drop schema cad")
    db.execute("create extension pgcad")


def test_where_a_session_creates_does_not_matter(db: Connection) -> None:
    db.execute("drop extension pgcad")
    db.execute("create schema elsewhere")
    for path in ("elsewhere, public", "''", "nowhere"):
        db.execute(f"set search_path = {path}")
        db.execute("create extension pgcad")
        schemas = "select distinct n.nspname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace"
        members = "select objid from pg_depend where refobjid = (select oid from pg_extension where extname = 'pgcad')"
        assert db.execute(f"{schemas} where c.oid in ({members})").fetchall() == [("cad",)]
        db.execute("drop extension pgcad")


def test_an_added_space_is_not_dropped_unnoticed(db: Connection) -> None:
    db.execute("select cad.add_space('mine', 3)")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="cannot drop extension pgcad"):
        db.execute("drop extension pgcad")


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("Bad name", 3),
        ("x'; drop table cad.model; --", 3),
        ("big", 4001),
        ("none", 0),
        ("a" * 24, 3),
        ("view", 3),
        ("mine_default", 3),
        ("cad_next", 3),
        ("cad_previous", 3),
        ("cad_view", 3),
    ],
)
def test_a_bad_space_is_refused(db: Connection, name: str, dim: int) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="a space cannot") as failure:
        db.execute("select cad.add_space(%s, %s)", [name, dim])
    assert failure.value.diag.message_hint


@pytest.mark.parametrize("name", ["mine", "cad"])
def test_a_space_whose_tables_exist_is_refused(db: Connection, name: str) -> None:
    db.execute("select cad.add_space('mine', 3)")
    with pytest.raises(psycopg.errors.DuplicateObject, match=f"there is a table cad.space_{name}") as failure:
        db.execute("select cad.add_space(%s, 3)", [name])
    assert failure.value.diag.message_hint


def test_required_extensions_may_live_in_another_schema(db: Connection, scripted: ScriptedService) -> None:
    db.execute("drop extension pgcad, vector, cube, pg_trgm")
    db.execute('create schema "Ext ensions"')
    for extension in ("vector", "cube", "pg_trgm"):
        db.execute(f'create extension {extension} schema "Ext ensions"')
    db.execute("create extension pgcad")
    assert db.execute("select proconfig from pg_proc where proname = '_store_part'").fetchone() == (
        ['search_path=pg_catalog, cad, "Ext ensions", pg_temp'],
    )
    db.execute("insert into cad.ingest (source_uri, format, content) values ('bolt', 'step', 'bolt')")
    db.execute("call cad.ingest_pending()")
    assert db.execute("select name from cad.search_cad('bolt', 1)").fetchall() == [("bolt",)]


def test_a_database_of_another_encoding_is_refused(db: Connection, cluster: LocalCluster) -> None:
    db.execute("create database latin template template0 encoding 'LATIN1' locale 'C'")
    try:
        with (
            psycopg.connect(cluster.dsn("latin"), autocommit=True) as latin,
            pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="UTF8"),
        ):
            latin.execute("create extension pgcad cascade")
    finally:
        db.execute("drop database latin")


def test_the_script_is_the_same_every_time(tmp_path: Path) -> None:
    for folder in ("once", "twice"):
        subprocess.run([sys.executable, ROOT / "extensions/build.py", "--output", tmp_path / folder], check=True)
    once, twice = ({f.name: f.read_bytes() for f in (tmp_path / d).iterdir()} for d in ("once", "twice"))
    assert once == twice
    assert any(name.startswith("pgcad--") for name in once)


def diagnosis(db: Connection) -> dict[str, str]:
    return dict(db.execute("select check_name, status from cad.doctor()").fetchall())


def test_doctor_finds_a_healthy_installation_healthy(db: Connection, scripted: ScriptedService) -> None:
    found = diagnosis(db)
    del found["pgvector version"]  # is the machine's affair
    assert set(found.values()) == {"ok"}


def test_doctor_finds_what_is_wrong(db: Connection, scripted: ScriptedService) -> None:
    db.execute(
        "insert into cad.ingest (source_uri, format, content) values ('a', 'step', 'a'), ('b', 'step', 'fail 22023')"
    )
    db.execute("call cad.ingest_pending()")
    scripted.version = "scripted-2"
    db.execute("set search_path = public")
    db.execute("grant create on schema public to public")
    db.execute("drop index cad.space_cad_default_fused_vec_idx cascade")
    db.execute("alter table cad.model enable row level security")
    db.execute(
        "insert into cad.model (name, kind, format, sha256)"
        " select 'x', 'part', 'step', sha256(int4send(n)) from generate_series(1, 1000) as n"
    )
    db.execute("delete from cad.model where name = 'x'")
    wrong = {name: status for name, status in diagnosis(db).items() if status != "ok"}
    wrong.pop("pgvector version", None)
    assert wrong == {
        "search_path of this session": "warning",
        "schemas of the required extensions": "warning",
        "encoder of space cad": "error",
        "ingest queue": "warning",
        "row level security": "warning",
        "statistics of cad.model": "warning",
        "vector indexes": "error",
    }
    scripted.close()
    assert diagnosis(db)["encoder service"] == "error"


@pytest.mark.parametrize("family", ["bolts", 'it\'s "50%" \\ 螺栓 %I; drop table cad.model', "x" * 200])
def test_promotion_moves_a_family_whatever_its_name(db: Connection, scripted: ScriptedService, family: str) -> None:
    load(db, "other", 2)
    load(db, family, 3)
    db.execute("call cad.promote_family(%s)", [family])
    db.execute("call cad.promote_family(%s)", [family])
    sizes = "select count(*) from cad.space_cad group by tableoid order by 1"
    assert db.execute(sizes).fetchall() == [(2,), (3,)]
    assert diagnosis(db)["vector indexes"] == "ok"


def test_vectors_lie_in_their_rows_in_every_partition(db: Connection, scripted: ScriptedService) -> None:
    load(db, "bolts", 2)
    db.execute("call cad.promote_family('bolts')")
    db.execute("select cad.add_space('tiny', 3)")
    storage = db.execute(
        "select a.attrelid::regclass::text, string_agg(distinct a.attstorage, '') from pg_attribute as a"
        " join pg_class as c on c.oid = a.attrelid where c.relkind in ('r', 'p') and c.relname like 'space_%'"
        " and c.relname not like '%_view' and a.atttypid = 'halfvec'::regtype group by 1"
    ).fetchall()
    assert len(storage) == 5
    assert {kind for _, kind in storage} == {"m"}


def test_a_family_without_parts_is_not_promoted(db: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no part has family 'ghosts'"):
        db.execute("call cad.promote_family('ghosts')")


def test_a_promotion_that_cannot_get_its_lock_says_so(db: Connection, dsn: str, scripted: ScriptedService) -> None:
    load(db, "b", 1)
    db.execute("alter function cad._move_family(text, text) set lock_timeout = '50ms'")
    with psycopg.connect(dsn) as other:
        other.execute("update cad.space_cad set encoder_version = encoder_version")
        with pytest.raises(psycopg.errors.LockNotAvailable, match="are locked by other sessions") as failure:
            db.execute("call cad.promote_family('b')")
        assert "again" in (failure.value.diag.message_hint or "")
    db.execute("call cad.promote_family('b')")
    assert db.execute("select cad._is_promoted('cad', 'b')").fetchone() == (True,)
