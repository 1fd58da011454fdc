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


@pytest.mark.parametrize("lists", [20, 300])
@pytest.mark.usefixtures("parts")
def test_lists_take_the_memory_that_was_predicted(db: Database, lists: int) -> None:
    """pgvector refuses to build where its k-means would take more, and says how much it would."""
    parameters = Jsonb({"lists": lists})
    [(needed,)] = db.execute("select cad._build_bytes('ivfflat', %s, 512, %s)", [parameters, PARTS]).fetchall()
    build = "select cad._create_vector_index('space_cad_default', 'ivfflat', %s, 512)"
    db.execute("select set_config('maintenance_work_mem', %s, false)", [f"{int(needed * 0.9 / 1024)}kB"])
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="memory required is"):
        db.execute(build, [parameters])
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="to build, maintenance_work_mem is"):
        db.execute("call cad.add_index('cad', 'ivfflat', %s)", [parameters])
    db.execute("select set_config('maintenance_work_mem', %s, false)", [f"{int(needed * 1.1 / 1024)}kB"])
    db.execute(build, [parameters])


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


def predicted_s(db: Database) -> dict[str, float | None]:
    return dict(db.execute("select kind, build_s from cad.index_plan('cad')").fetchall())


@pytest.mark.usefixtures("parts")
def test_how_long_a_build_takes_is_known_once_it_was_measured(db: Database) -> None:
    assert set(predicted_s(db).values()) == {None}
    measured = db.execute("select kind, few_parts, many_parts, few_s, many_s from cad.measure_builds('cad')").fetchall()
    assert [kind for kind, *_ in measured] == sorted(KINDS)
    assert all(0 < few < many <= PARTS and few_s > 0 and many_s > 0 for _, few, many, few_s, many_s in measured)
    assert db.execute("select kind from cad.build_time where one_list_s > 0").fetchall() == [("ivfflat",)]
    before = predicted_s(db)
    # The sample is all there is: what was measured is what is predicted.
    assert before == {kind: pytest.approx(many_s) for kind, *_, many_s in measured}
    db.execute("update cad.build_time set few_s = 1, many_s = 5")
    assert predicted_s(db).keys() == before.keys()
    db.execute("update pg_class set reltuples = 100 * reltuples where oid = 'cad.space_cad_default'::regclass")
    assert all(seconds is not None and seconds > 400 for seconds in predicted_s(db).values())
    add(db, "bit")
    assert predicted_s(db)["bit"] is None, "measured with other parameters"
    assert db.execute("select to_regclass('cad._build_sample')").fetchone() == (None,)


def seconds(
    db: Database,
    kind: str,
    parameters: dict[str, int],
    measured: dict[int, float],
    parts: int,
    one_list_s: float | None = None,
) -> float:
    samples = [number for sample in measured.items() for number in sample]
    took = "select cad._build_s(row('cad', %s, %s, 0, %s, %s, %s, %s, %s, now())::cad.build_time, %s)"
    [(predicted,)] = db.execute(took, [kind, Jsonb(parameters), *samples, one_list_s, parts]).fetchall()
    return float(predicted)


def test_more_parts_take_longer(db: Database) -> None:
    measured = {2000: 1.0, 8000: 5.0}
    took = [seconds(db, "hnsw", {}, measured, parts) for parts in (2000, 8000, 20_000, 1_000_000)]
    assert took == sorted(took)
    assert took[:2] == [pytest.approx(1), pytest.approx(5)]
    assert took[3] / took[2] > 60, "n log n"


def test_lists_take_their_kmeans_the_sorting_and_the_writing_of_every_part(db: Database) -> None:
    measured, one_list_s, lists, sample = {24_000: 4.0, 72_000: 8.0}, 3.0, 310, 310 * 50
    asked = (24_000, 72_000, 240_000)
    assert [seconds(db, "ivfflat", {"lists": lists}, measured, parts, one_list_s) for parts in asked] == [
        pytest.approx(took) for took in (4, 8, 22)
    ]  # 2 s for the k-means of the same sample, and for every 24,000 parts 1 s each to sort and to write them
    kmeans_s, sorting_s = 2 / (lists * sample), 1 / (lists * 24_000)
    assert seconds(db, "ivfflat", {}, measured, 1_000_000, one_list_s) == pytest.approx(
        2000 * (kmeans_s * 2000 * 50 + sorting_s * 1_000_000) + 1_000_000 / 24_000
    )


def test_too_few_parts_to_measure_are_refused(db: Database) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has only 0 vectors"):
        db.execute("select cad.measure_builds('cad')")


def test_only_a_pgvector_that_can_is_let_build_in_parallel(db: Database) -> None:
    """Before 0.8.2 a parallel build may overflow a buffer."""
    db.execute("set max_parallel_maintenance_workers = 3")
    for version, workers in (("0.8.0", 0), ("0.8.1", 0), ("0.8.2", 3), ("0.10.0", 3)):
        db.execute("update pg_extension set extversion = %s where extname = 'vector'", [version])
        assert db.execute("select distinct workers from cad.index_plan('cad')").fetchall() == [(workers,)]
