"""Large loads: staged without an index, proven beside what serves, exchanged while others search and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest
from busy_sessions import busy_sessions
from known_parts import VERSION, Part, insert, random_part, search, stages, unit_vector
from pgvector import HalfVector
from psycopg.types.json import Jsonb
from service_doubles.process import eventually
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]

OLD, NEW = 300, 200


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(31)


@pytest.fixture
def parts(db: Database, rng: np.random.Generator) -> list[Part]:
    """300 parts, those of one family in a partition of its own."""
    made = [random_part(rng, number) for number in range(OLD)]
    insert(db, made)
    db.execute("call cad.promote_family('bolt')")
    db.execute("analyze cad.model")
    return made


@pytest.fixture
def staged(db: Database, parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """200 more parts, whose vectors are staged."""
    made = [random_part(rng, number) for number in range(OLD, OLD + NEW)]
    stage(db, made)
    return made


def stage(db: Database, parts: list[Part]) -> None:
    db.execute("select cad.begin_load('cad')")
    with db.cursor() as cursor:
        for part in parts:
            cursor.execute(
                "with part as (insert into cad.model (part_number, name, family, mass_kg, kind, format, sha256)"
                " values (%s, %s, %s, %s, 'part', 'step', sha256(%s)) returning model_id, family)"
                " insert into cad.space_cad_staged (model_id, family, fused_vec, encoder_version)"
                " select model_id, family, %s, %s from part",
                [
                    part.number, part.name, part.family, part.mass_kg, part.number.encode(),
                    HalfVector(part.vectors["fused"]).to_text(), VERSION,
                ],
            )  # fmt: skip


def nearest(db: Database, part: Part, **options: Any) -> list[str]:
    vector = part.vectors["fused"]
    assert vector is not None
    return [number for number, _ in search(db, vector, 10, options={"against": "fused", **options})]


def tables(db: Database) -> set[str]:
    rows = db.execute(
        "select relname from pg_class where relnamespace = 'cad'::regnamespace and relkind in ('r', 'p')"
        " and relname like 'space\\_%' and not relispartition"
    )
    return {name for (name,) in rows.fetchall()}


def doctor(db: Database) -> dict[str, tuple[str, str]]:
    rows = db.execute("select check_name, status, coalesce(hint, '') from cad.doctor()").fetchall()
    return {name: (status, hint) for name, status, hint in rows}


SERVING = {"space_cad", "space_cad_view"}


# --- the usual way ------------------------------------------------------------------------------------------------


def test_searches_see_a_load_when_it_is_finished_and_not_before(
    db: Database, parts: list[Part], staged: list[Part]
) -> None:
    assert nearest(db, parts[0])[0] == parts[0].number
    assert not {part.number for part in staged} & set(nearest(db, staged[0], strategy="hnsw"))
    assert "cad.finish_load('cad')" in doctor(db)["load into space cad"][1]
    db.execute("call cad.finish_load('cad')")
    for part in (parts[0], parts[-1], staged[0], staged[-1]):
        assert nearest(db, part, strategy="hnsw")[0] == part.number
        assert nearest(db, part)[0] == part.number
    assert tables(db) == SERVING
    assert db.execute("select count(*) from cad.space_cad").fetchone() == (OLD + NEW,)
    checks = doctor(db)
    assert checks["vector indexes"][0] == "ok" and "load into space cad" not in checks


@pytest.mark.usefixtures("staged")
def test_partitions_keys_and_indexes_are_those_that_were(db: Database) -> None:
    shape = (
        "select c.relname, pg_get_expr(c.relpartbound, c.oid), array_agg(pg_get_indexdef(x.indexrelid) order by 1)"
        " from pg_inherits as i join pg_class as c on c.oid = i.inhrelid join pg_index as x on x.indrelid = c.oid"
        " where i.inhparent = 'cad.space_cad'::regclass group by 1, 2 order by 1"
    )
    before = db.execute(shape).fetchall()
    db.execute("call cad.finish_load('cad')")
    assert db.execute(shape).fetchall() == before
    assert db.execute("select count(*) from pg_trigger where tgname = 'note_part'").fetchone() == (0,)
    assert db.execute("select vectors::text, views::text from cad.space").fetchall() == [
        ("space_cad", "space_cad_view")
    ]


def test_a_staged_vector_takes_the_place_of_the_one_in_use(
    db: Database, parts: list[Part], rng: np.random.Generator
) -> None:
    moved = random_part(rng, 0)
    vector = HalfVector(moved.vectors["fused"]).to_text()
    db.execute("select cad.begin_load('cad')")
    db.execute(
        "insert into cad.space_cad_staged (model_id, family, fused_vec, encoder_version)"
        " select model_id, family, %s, %s from cad.model where part_number = %s",
        [vector, VERSION, parts[0].number],
    )
    db.execute("call cad.finish_load('cad')")
    assert nearest(db, moved)[0] == parts[0].number
    assert db.execute("select count(*) from cad.space_cad").fetchone() == (OLD,)


def test_files_of_the_queue_are_staged_while_a_load_is_open(
    db: Database, scripted: ScriptedService, load_numbered: Callable[[int], None]
) -> None:
    db.execute("create role carrier")
    try:
        db.execute("select cad.grant_to('carrier', 'loader')")
        db.execute("select cad.begin_load('cad')")
        db.execute("set role carrier")
        db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata) values ('x', 'step', 'part', %s)",
            [Jsonb({"part_number": "P", "description": "a thing"})],
        )
        db.execute("call cad.ingest_pending()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("select from cad.space_cad_staged")
        db.execute("reset role")
        assert db.execute("select state, last_error from cad.ingest").fetchall() == [("done", None)]
        assert db.execute("select count(*) from cad.space_cad").fetchone() == (0,)
        assert db.execute("select part_number from cad.search_cad('thing')").fetchall() == [("P",)], "by its words"
        db.execute("call cad.finish_load('cad')")
        assert db.execute("select count(*) from cad.space_cad").fetchone() == (1,)
        load_numbered(1)
        assert db.execute("select count(*) from cad.space_cad").fetchone() == (2,)
    finally:
        db.execute("reset role")
        db.execute("drop owned by carrier")
        db.execute("drop role carrier")


def test_a_load_into_an_empty_space_needs_no_proof(db: Database, parts: list[Part]) -> None:
    db.execute("select cad.add_space('mine', 3)")
    db.execute("select cad.begin_load('mine')")
    db.execute(
        "insert into cad.space_mine_staged (model_id, family, fused_vec, encoder_version)"
        " select model_id, family, '[1,2,3]', 'imported' from cad.model"
    )
    db.execute("call cad.finish_load('mine')")
    found = db.execute("select from cad.search_cad_vector('mine', '[1,2,3]', 20)").fetchall()
    assert len(found) == 20
    assert db.execute("select encoder_version from cad.space where name = 'mine'").fetchone() == ("imported",)


def test_a_load_given_up_leaves_nothing(db: Database, parts: list[Part], staged: list[Part]) -> None:
    db.execute("select cad.cancel_load('cad')")
    assert tables(db) == SERVING
    assert nearest(db, parts[3])[0] == parts[3].number
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no load into space cad was begun"):
        db.execute("select cad.cancel_load('cad')")


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "state"),
    [
        ("select cad.begin_load('nowhere')", "22023"),
        ("call cad.finish_load('nowhere')", "22023"),
        ("call cad.finish_load('cad')", "22023"),
        ("select cad.cancel_load('cad')", "22023"),
        ("begin; call cad.finish_load('cad')", "25001"),
    ],
)
def test_what_was_not_begun_is_refused(db: Database, call: str, state: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        db.execute(call)
    assert refused.value.diag.sqlstate == state
    assert refused.value.diag.message_hint


def test_a_load_of_nothing_or_of_another_encoder_is_refused(db: Database, parts: list[Part]) -> None:
    db.execute("select cad.begin_load('cad')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="nothing is staged"):
        db.execute("call cad.finish_load('cad')")
    db.execute(
        "insert into cad.space_cad_staged (model_id, family, encoder_version)"
        " select model_id, family, 'other-1' from cad.model limit 1"
    )
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="vectors of other-1 are staged"):
        db.execute("call cad.finish_load('cad')")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        db.execute(
            "insert into cad.space_cad_staged (model_id, family, encoder_version) values (gen_random_uuid(), 'x', 'x')"
        )


@pytest.mark.usefixtures("staged")
def test_no_other_exchange_begins_while_a_load_is_open(db: Database, scripted: ScriptedService) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="load into space cad was begun") as refused:
        db.execute("call cad.reembed('cad')")
    assert "cad.finish_load" in (refused.value.diag.message_hint or "")
    assert db.execute("select cad.begin_load('cad')::text").fetchone() == ("space_cad_staged",)


# --- the proof ----------------------------------------------------------------------------------------------------


def spoil_new_indexes(db: Database, least: str = "null") -> None:
    """What is built from now on finds little: a graph of two links over random vectors."""
    db.execute("""update cad.space set config = '{"indexes": {"hnsw": {"m": 2, "ef_construction": 4}}}'""")
    db.execute("create or replace function cad._default_setting(kind text, most int, parameters text[]) returns int"
               " language sql as 'select case when parameters[1] = ''m=2'' then 10 else 200 end'")  # fmt: skip


def test_an_index_that_finds_less_does_not_take_over(db: Database, parts: list[Part], staged: list[Part]) -> None:
    before = db.execute("select index, parameters from cad.index_health order by 1").fetchall()
    spoil_new_indexes(db)
    with pytest.raises(
        psycopg.errors.ObjectNotInPrerequisiteState, match=r"finds 0\.\d+ of the ten nearest"
    ) as refused:
        db.execute("call cad.finish_load('cad')")
    assert "least_recall" in (refused.value.diag.message_hint or "")
    assert db.execute("select index, parameters from cad.index_health order by 1").fetchall() == before
    assert nearest(db, parts[5])[0] == parts[5].number
    assert not {part.number for part in staged} & set(nearest(db, staged[0], strategy="hnsw"))
    db.execute("call cad.finish_load('cad', least_recall => 0.01)")
    assert db.execute("select count(*) from cad.space_cad").fetchone() == (OLD + NEW,)
    assert db.execute("select distinct parameters from cad.index_health").fetchall() == [
        (["m=2", "ef_construction=4"],)
    ]


@pytest.mark.usefixtures("staged")
def test_what_was_tuned_for_is_what_must_be_found(db: Database) -> None:
    db.execute("call cad.tune('cad', 0.5)")
    db.execute("update cad.tuned_scan set recall = 1")
    db.execute("update cad.tuning set target_recall = 1")
    db.execute("update cad.tuned_scan set setting = 10 where chosen")
    spoil_new_indexes(db)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"with setting 10, 1\.000 are wanted"):
        db.execute("call cad.finish_load('cad')")


def test_a_worse_index_is_not_kept_and_the_old_one_is(db: Database, parts: list[Part]) -> None:
    db.execute("call cad.add_index('cad', 'prefix', '{\"dim\": 128}')")
    health = "select partition, index, parameters from cad.index_health order by 2"
    before, wanted = db.execute(health).fetchall(), db.execute("select config from cad.space").fetchall()
    worse = "call cad.add_index('cad', 'prefix', '{\"dim\": 1}'%s)"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="of the ten nearest") as refused:
        db.execute(worse % "")
    assert "least_recall" in (refused.value.diag.message_hint or "")
    assert db.execute(health).fetchall() == before
    assert db.execute("select config from cad.space").fetchall() == wanted
    assert doctor(db)["vector indexes"][0] == "ok"
    db.execute(worse % ", least_recall => 0")
    assert {row[0] for row in db.execute("select dim from cad.index_health where kind = 'prefix'")} == {1}


def test_a_worse_index_of_the_same_dimensions_is_told_from_the_old_one(db: Database, parts: list[Part]) -> None:
    """Both could answer the same query: the proof must read the new one."""
    spoil_new_indexes(db)
    before = db.execute("select index from cad.index_health order by 1").fetchall()
    db.execute("update cad.model set name = name || 'x'")
    db.execute("update cad.space_cad set text_md5 = model_id")  # so that the build meets changing rows
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="with setting 10"):
        db.execute("call cad.add_index('cad', 'hnsw', '{\"m\": 2, \"ef_construction\": 4}')")
    assert db.execute("select index from cad.index_health where valid order by 1").fetchall() == before


# --- interrupted --------------------------------------------------------------------------------------------------


def test_a_load_that_stops_half_way_goes_on(db: Database, parts: list[Part], staged: list[Part]) -> None:
    """It stops before the exchange; parts come, change and go; the next call has all of it right."""
    db.execute("alter function cad._exchange_load(cad.space, text, integer) rename to _exchange_later")
    with pytest.raises(psycopg.errors.UndefinedFunction) as stopped:
        db.execute("call cad.finish_load('cad')")
    assert "goes on from there" in (stopped.value.diag.message_hint or "")
    db.execute("alter function cad._exchange_later(cad.space, text, integer) rename to _exchange_load")
    gone, nuts, other = staged[0], parts[1], staged[1]
    db.execute("delete from cad.model where part_number in (%s, %s)", [gone.number, parts[2].number])
    db.execute("update cad.model set family = 'bolt' where part_number = %s", [nuts.number])
    db.execute(
        "update cad.space_cad set fused_vec = %s where model_id = (select model_id from cad.model"
        " where part_number = %s)",
        [HalfVector(gone.vectors["fused"]).to_text(), parts[3].number],
    )
    db.execute("delete from cad.space_cad where model_id = (select model_id from cad.model where part_number = %s)",
               [parts[4].number])  # fmt: skip
    db.execute("call cad.promote_family('washer')")
    db.execute("call cad.finish_load('cad')")
    assert db.execute("select count(*) from cad.space_cad").fetchone() == (OLD + NEW - 3,)
    assert nearest(db, gone)[0] == parts[3].number
    assert nearest(db, other)[0] == other.number
    assert db.execute(
        "select s.tableoid::regclass::text like '%%bolt%%' from cad.space_cad as s join cad.model as m using (model_id)"
        " where m.part_number = %s", [nuts.number],
    ).fetchone() == (True,)  # fmt: skip
    assert db.execute("select cad._is_promoted('cad', 'washer')").fetchone() == (True,)
    assert doctor(db)["vector indexes"][0] == "ok"
    assert tables(db) == SERVING


def test_indexes_that_are_wanted_by_the_time_it_goes_on_are_made_and_proven(
    db: Database, parts: list[Part], staged: list[Part]
) -> None:
    db.execute("alter function cad._exchange_load(cad.space, text, integer) rename to _exchange_later")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        db.execute("call cad.finish_load('cad')")
    db.execute("alter function cad._exchange_later(cad.space, text, integer) rename to _exchange_load")
    db.execute("call cad.use_profile('cad', 'compact', least_recall => 0)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"1\.000 are wanted"):
        db.execute("call cad.finish_load('cad', least_recall => 1)")
    db.execute("call cad.finish_load('cad', least_recall => 0)")
    assert {kind for (kind,) in db.execute("select kind from cad.index_health")} == {"ivfflat"}
    assert doctor(db)["vector indexes"][0] == "ok"
    for part in (parts[0], staged[-1]):
        assert nearest(db, part, strategy="ivfflat")[0] == part.number


@pytest.mark.usefixtures("staged")
def test_whoever_writes_without_a_pause_does_not_keep_it_from_ending(db: Database) -> None:
    """Where too much has changed by the exchange, more is allowed to have changed by the next."""
    changed = "insert into cad.space_cad_next_changed select gen_random_uuid() from generate_series(1, 5001)"
    db.execute("alter function cad._copy_changed(cad.space) rename to _copy_changed_once")
    db.execute(
        "create function cad._copy_changed(stored cad.space) returns bigint language plpgsql as"
        f" $$declare copied bigint := least(cad._copy_changed_once(stored), 1); begin {changed}; return copied; end$$"
    )
    db.execute("set statement_timeout = '60s'")
    db.execute("call cad.finish_load('cad')")
    assert db.execute("select count(*) from cad.space_cad").fetchone() == (OLD + NEW,)


@pytest.mark.usefixtures("parts")
def test_an_open_transaction_that_begins_a_load_holds_up_no_search(
    db: Database, dsn: str, rng: np.random.Generator
) -> None:
    with psycopg.connect(dsn) as loading:
        loading.execute("select cad.begin_load('cad')")
        db.execute("set pgcad.log_share = 1")
        db.execute("set statement_timeout = '5s'")
        assert len(search(db, unit_vector(rng), 5)) == 5
    assert db.execute("select count(*) from cad.search_log").fetchone() == (1,)


@pytest.mark.parametrize("call", ["call cad.finish_load('cad')", "call cad.promote_family('nut')"])
@pytest.mark.usefixtures("staged")
def test_an_old_snapshot_is_no_way_to_see_what_others_write(db: Database, call: str) -> None:
    db.execute("set default_transaction_isolation = 'repeatable read'")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="must see what others have committed") as refused:
        db.execute(call)
    hint = refused.value.diag.message_hint or ""
    db.execute(hint[hint.index("set ") : hint.index(";")])
    db.execute(call)


def test_without_room_nothing_is_begun(db: Database, parts: list[Part], staged: list[Part]) -> None:
    db.execute("create or replace function cad._disk_free_bytes() returns bigint language sql as 'select 10000'")
    with pytest.raises(psycopg.errors.DiskFull, match="more than the") as refused:
        db.execute("call cad.finish_load('cad')")
    assert "Make room" in (refused.value.diag.message_hint or "")
    assert nearest(db, parts[0], strategy="hnsw")[0] == parts[0].number
    assert tables(db) == SERVING | {"space_cad_staged"}


def test_without_memory_for_the_index_the_copies_wait(db: Database, parts: list[Part], staged: list[Part]) -> None:
    db.execute("alter system set maintenance_work_mem = '1MB'")
    try:
        db.execute("select pg_reload_conf()")
        db.execute("set maintenance_work_mem = '1MB'")
        db.execute("create or replace function cad._build_bytes(kind text, parameters jsonb, dim integer, parts bigint)"
                   " returns bigint language sql as 'select 2000000 + parts'")  # fmt: skip
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded) as refused:
            db.execute("call cad.finish_load('cad')")
        hint = refused.value.diag.message_hint or ""
        assert nearest(db, parts[0], strategy="hnsw")[0] == parts[0].number
        db.execute(hint[hint.index("set ") : hint.index(";")])
        db.execute("call cad.finish_load('cad')")
    finally:
        db.execute("alter system reset maintenance_work_mem")
        db.execute("select pg_reload_conf()")
    assert nearest(db, staged[0])[0] == staged[0].number


def test_tables_that_stay_locked_are_said_to_be(db: Database, dsn: str, parts: list[Part], staged: list[Part]) -> None:
    db.execute("alter function cad._exchange_load(cad.space, text, integer) set lock_timeout = '10ms'")
    with psycopg.connect(dsn) as writer:
        writer.execute("update cad.model set name = 'x' where part_number = %s", [parts[0].number])
        with pytest.raises(psycopg.errors.LockNotAvailable, match="locked by other sessions") as failure:
            db.execute("call cad.finish_load('cad')")
        assert "again" in (failure.value.diag.message_hint or "")
        assert nearest(db, parts[0], strategy="hnsw")[0] == parts[0].number
    db.execute("call cad.finish_load('cad')")
    assert nearest(db, staged[0])[0] == staged[0].number


# --- beside others ------------------------------------------------------------------------------------------------


def test_a_snapshot_from_before_sees_the_old_vectors_and_keeps_them(
    db: Database, dsn: str, parts: list[Part], staged: list[Part]
) -> None:
    db.execute(
        "create or replace function cad._is_seen_by_all(change xid) returns boolean language sql as 'select false'"
    )
    with psycopg.connect(dsn) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.execute("select")
        db.execute("call cad.finish_load('cad')")
        assert nearest(db, staged[0])[0] == staged[0].number
        assert not {part.number for part in staged} & set(nearest(session, staged[0], strategy="hnsw"))
    assert "cad.drop_previous('cad')" in doctor(db)["previous vectors of space cad"][1]
    db.execute("select cad.drop_previous('cad')")
    assert tables(db) == SERVING


def test_nobody_is_kept_waiting_fails_or_misses_anything(
    db: Database, dsn: str, parts: list[Part], staged: list[Part]
) -> None:
    """Searches see old or new, k of them, right ones; what is written meanwhile is there at the end."""
    written: list[str] = []

    old_part, new_part = parts[0], staged[0]
    staged_numbers = {part.number for part in staged}

    def read(own: Database) -> None:
        for options in ({}, {"strategy": "exact"}, {"strategy": "iterative"}):
            found = nearest(own, old_part, **options)
            assert len(found) == len(set(found)) == 10 and found[0] == old_part.number
        seen = set(nearest(own, new_part, strategy="iterative"))
        assert new_part.number in seen or not staged_numbers & seen

    def write(own: Database) -> None:
        number = f"W-{len(written)}"
        own.execute(
            "with part as (insert into cad.model (part_number, name, family, kind, format, sha256)"
            " values (%s, 'late', 'bolt', 'part', 'step', sha256(%s)) returning model_id, family)"
            " insert into cad.space_cad (model_id, family, fused_vec, encoder_version)"
            " select model_id, family, %s, %s from part",
            [number, number.encode(), HalfVector(parts[1].vectors["fused"]).to_text(), VERSION],
        )
        written.append(number)

    with busy_sessions(dsn, [read, read, write]) as failures:
        eventually(lambda: len(written) > 3)
        db.execute("call cad.finish_load('cad')")
        eventually(lambda: len(written) > 20 or bool(failures))
    assert failures == []
    assert db.execute("select count(*) from cad.space_cad").fetchone() == (OLD + NEW + len(written),)
    assert stages(db, unit_vector(np.random.default_rng(1)), options={"strategy": "hnsw"})["hnsw"][1] == 200
