"""Vectors that are resident in the encoder service: found as exact search finds them, whatever happens meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import FAMILIES, VERSION, Part, insert, random_part, search, stages, unit_vector
from pgcad_load.cluster import LocalCluster
from pgvector import HalfVector, Vector
from psycopg.rows import scalar_row
from service_doubles.process import ServiceProcess, in_background

Database = psycopg.Connection[Any]

ONLY_FUSED = {"fused": 1, "text": 0, "image": 0, "shape": 0}
TRIGGERS = "select count(*) from pg_trigger where tgname = 'note_resident_change'"
FILTERS: list[dict[str, Any]] = [
    {},
    {"family": "bolt"},
    {"family": ["nut", "washer"], "mass_kg": {"max": 0.5}},
    {"mass_kg": {"max": 0.03}},
    {"tags": ["metric", "stock"], "kind": "part"},
    {"material": "gold"},
]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(31)


class Service:
    """The real service around the tiny space, which may be restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.database = folder, ""
        self.options: tuple[str, ...] = ()
        self.start()

    def start(self, *options: str) -> None:
        self.process, self.options = ServiceProcess(self.folder, *options), options
        (self.folder / "s").chmod(0o777)  # the server may run as another user than the test

    def restart(self, *options: str) -> None:
        self.process.stop()
        self.start(*options)

    def held(self) -> list[dict[str, Any]]:
        """The spaces of the database that it holds, as it says itself."""
        spaces = self.process.health()["resident"]["spaces"]
        return [held for held in spaces if held["database"].startswith(f"{self.database} of ")]


@pytest.fixture(scope="module")
def running(cluster: LocalCluster) -> Iterator[Service]:
    folder = cluster.socket_dir / "resident"
    folder.mkdir()
    folder.chmod(0o777)
    started = Service(folder)
    yield started
    started.process.stop()


@pytest.fixture
def service(running: Service, db: Database) -> Service:
    """A service with default settings, which the database talks to."""
    if running.options or running.process.process.poll() is not None:
        running.restart()
    running.database = db.info.dbname
    db.execute(f"alter database {db.info.dbname} set pgcad.socket = '{running.folder / 's'}'")
    db.execute(f"set pgcad.socket = '{running.folder / 's'}'")
    return running


@pytest.fixture
def stored(db: Database, rng: np.random.Generator, service: Service) -> list[Part]:
    """300 parts in two partitions, some of them without vectors or with one that has no direction."""
    made = [random_part(rng, number) for number in range(300)]
    for part in made[::50]:
        part.vectors["fused"] = None
    insert(db, made)
    db.execute("call cad.promote_family('bolt')")
    db.execute(
        "update cad.space_cad set fused_vec = array_fill(0, array[512])::vector::halfvec where model_id in"
        " (select model_id from cad.model where part_number like '%%-0007')"
    )
    db.execute("analyze cad.model")
    return made


@pytest.fixture
def parts(db: Database, stored: list[Part]) -> list[Part]:
    """The same, resident."""
    db.execute("call cad.load_resident('cad')")
    return stored


@pytest.fixture
def other(dsn: str, parts: list[Part]) -> Iterator[Database]:
    """Another session."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def agrees(db: Database, rng: np.random.Generator, probes: int = 1) -> None:
    """Searches by resident vectors return what exact ones do, and do find it so where many parts match."""
    for filters, k in zip(FILTERS * probes, itertools.cycle((10, 1, 400, 10)), strict=False):
        probe, options = unit_vector(rng), {"weights": ONLY_FUSED}
        exact = search(db, probe, k, filters=filters, options=options | {"strategy": "exact"})
        assert search(db, probe, k, filters=filters, options=options | {"strategy": "resident"}) == exact
    taken = stages(db, unit_vector(rng), 10, options={"strategy": "resident", "weights": ONLY_FUSED})
    assert "resident" in taken and "exact" not in taken


def changed_parts(db: Database) -> int:
    return db.cursor(row_factory=scalar_row).execute("select changed_parts from cad.resident_health").fetchall()[0]


def doctor(db: Database) -> tuple[Any, ...] | None:
    checks = "select status, detail, hint from cad.doctor() where check_name = 'resident vectors of space cad'"
    return db.execute(checks).fetchone()


def change(db: Database, rng: np.random.Generator, number: int) -> None:
    """Other vectors, another family, parts that go and parts that come."""
    ids = [part for (part,) in db.execute("select model_id from cad.space_cad order by random() limit 9").fetchall()]
    for part in ids[:3]:
        vector = HalfVector(unit_vector(rng)).to_text()
        db.execute("update cad.space_cad set fused_vec = %s where model_id = %s", [vector, part])
    family = FAMILIES[rng.integers(len(FAMILIES))]
    db.execute("update cad.model set family = %s where model_id = any(%s)", [family, ids[3:5]])
    db.execute("delete from cad.model where model_id = any(%s)", [ids[5:7]])
    db.execute("delete from cad.space_cad where model_id = %s", [ids[7]])
    db.execute("update cad.space_cad set fused_vec = null where model_id = %s", [ids[8]])
    insert(db, [random_part(rng, 1000 + 10 * number + place) for place in range(3)])


# --- what is found ------------------------------------------------------------------------------------------------


def test_resident_vectors_find_what_exact_search_does(
    db: Database, rng: np.random.Generator, parts: list[Part], service: Service
) -> None:
    agrees(db, rng, probes=5)
    [held] = service.held()
    assert (held["space"], held["complete"], held["parts"]) == ("cad", True, 294)
    assert db.execute("select cad.encoder_health() #> '{resident,spaces,0,bytes}' > '294000'").fetchone() == (True,)
    assert db.execute("select space, in_use, parts, changed_parts from cad.resident_health").fetchall() == [
        ("cad", True, 294, 0)
    ]
    assert doctor(db) == ("ok", "294 parts, 0 of them changed since", None)


def test_changes_are_found_before_and_after_the_service_is_told(
    db: Database, rng: np.random.Generator, parts: list[Part], service: Service
) -> None:
    for number in range(5):
        change(db, rng, number)
        assert changed_parts(db) > 0
        agrees(db, rng)
        db.execute("call cad.refresh_resident('cad')")
        assert changed_parts(db) == 0
        agrees(db, rng)
    there = db.execute("select count(*)::int from cad.space_cad where fused_vec is not null").fetchone()
    assert (service.held()[0]["parts"],) == there
    assert db.execute("select parts::int from cad.resident_health").fetchone() == there


def test_a_narrow_filter_is_the_affair_of_exact_search(
    db: Database, rng: np.random.Generator, parts: list[Part]
) -> None:
    taken = stages(db, unit_vector(rng), 20, filters={"mass_kg": {"max": 0.02}}, options={"strategy": "resident"})
    assert taken["exact"][0]["because"] == "resident came back short"


def test_policies_hold(db: Database, dsn: str, rng: np.random.Generator, parts: list[Part]) -> None:
    db.execute("create role buyer login")
    db.execute("select cad.grant_to('buyer', 'reader')")
    db.execute("alter table cad.model enable row level security")
    db.execute("create policy mine on cad.model to buyer using (family in ('nut', 'washer') and mass_kg < 0.7)")
    try:
        change(db, rng, 0)
        with psycopg.connect(f"{dsn} user=buyer", autocommit=True) as buyer:
            agrees_under_policy(buyer, rng)
            noted = buyer.execute("select model_id from cad.resident_change").fetchall()
            assert noted and set(noted) <= set(buyer.execute("select model_id from cad.model").fetchall())
            everything = buyer.execute(
                "select nearest from cad._nearest_resident('cad.space_cad', array[%s::halfvec], '{}', 300, 300)",
                [Vector(unit_vector(rng)).to_text()],
            ).fetchone()
            assert everything is not None
            visible = {part for (part,) in buyer.execute("select model_id from cad.model").fetchall()}
            assert set(everything[0]) <= visible, "not even the function behind the search shows a hidden part"
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                buyer.execute("call cad.load_resident('cad')")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                buyer.execute("select cad._resident_request('resident_drop', '{}')")
    finally:
        db.execute("drop owned by buyer")
        db.execute("drop role buyer")


def agrees_under_policy(db: Database, rng: np.random.Generator) -> None:
    for filters, k in itertools.product(FILTERS, (1, 10, 400)):
        probe, options = unit_vector(rng), {"weights": ONLY_FUSED}
        exact = search(db, probe, k, filters=filters, options=options | {"strategy": "exact"})
        assert search(db, probe, k, filters=filters, options=options | {"strategy": "resident"}) == exact


def test_many_questions_are_answered_at_once(
    db: Database, rng: np.random.Generator, parts: list[Part], service: Service
) -> None:
    change(db, rng, 0)
    asked_before = service.process.health()["requests"].get("resident_nearest", 0)
    probes = [Vector(unit_vector(rng)).to_text() for _ in range(20)]
    for k in (1, 7, 400):  # more than there are: all that have a direction
        found = db.execute("select * from cad.nearest_resident('cad', %s::vector[], %s)", [probes, k]).fetchall()
        truth = db.execute(
            "select q.query::int, (row_number() over (partition by q.query order by e.distance, e.model_id))::int,"
            " e.model_id, e.distance from unnest(%s::vector[]) with ordinality as q (question, query)"
            " cross join lateral (select s.model_id, s.fused_vec <=> q.question::halfvec as distance"
            " from cad.space_cad as s where s.fused_vec <=> q.question::halfvec <> 'NaN'"
            " order by (s.fused_vec <=> q.question::halfvec) + 0, s.model_id limit %s) as e order by 1, 2",
            [probes, k],
        ).fetchall()
        assert [row[:3] for row in found] == [row[:3] for row in truth]
        assert [row[3] for row in found] == pytest.approx([row[3] for row in truth], abs=1e-6)
    assert service.process.health()["requests"]["resident_nearest"] - asked_before <= 6  # the nearest may be gone
    assert db.execute("select * from cad.nearest_resident('cad', '{}')").fetchall() == []
    for wrong in ("array['[1,2]'::vector]", "array[array_fill(0, array[512])::vector]"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            db.execute(f"select * from cad.nearest_resident('cad', {wrong})")


# --- snapshots ----------------------------------------------------------------------------------------------------


def test_an_old_snapshot_finds_what_it_sees(
    db: Database, other: Database, rng: np.random.Generator, service: Service
) -> None:
    with other.transaction():
        other.execute("set transaction isolation level repeatable read")
        agrees(other, rng)
        for number in range(3):
            change(db, rng, number)
            agrees(other, rng)
            db.execute("call cad.refresh_resident('cad')")
            agrees(other, rng)
    agrees(other, rng)


def test_a_transaction_finds_its_own_changes(db: Database, other: Database, rng: np.random.Generator) -> None:
    with other.transaction(force_rollback=True):
        change(other, rng, 0)
        agrees(other, rng)
        agrees(db, rng)
    assert changed_parts(db) == 0
    agrees(db, rng)


def test_a_refresh_that_is_not_committed_hides_nothing(db: Database, other: Database, rng: np.random.Generator) -> None:
    change(db, rng, 0)
    with other.transaction(force_rollback=True):
        assert other.execute("select cad._refresh_resident_step('cad', 1000)").fetchone() != (0,)
        agrees(db, rng)
        agrees(other, rng)
        change(db, rng, 1)
        agrees(db, rng)
    agrees(db, rng)
    db.execute("call cad.refresh_resident('cad')")
    agrees(db, rng)


def test_what_never_was_is_taken_back(db: Database, other: Database, rng: np.random.Generator) -> None:
    with other.transaction(force_rollback=True):
        change(other, rng, 0)
        other.execute("select cad._refresh_resident_step('cad', 1000)")
    agrees(db, rng)
    db.execute("call cad.refresh_resident('cad')")
    agrees(db, rng)


def test_two_sessions_may_refresh_at_once(db: Database, other: Database, rng: np.random.Generator) -> None:
    change(db, rng, 0)
    with other.transaction():
        other.execute("select cad._refresh_resident_step('cad', 1000)")
        second = in_background(lambda: db.execute("call cad.refresh_resident('cad')"))
        change(other, rng, 1)
    second()
    agrees(other, rng)
    db.execute("call cad.refresh_resident('cad')")
    assert changed_parts(db) == 0
    agrees(db, rng)


def test_a_refresh_with_an_old_snapshot_is_refused(db: Database, other: Database, rng: np.random.Generator) -> None:
    with pytest.raises(psycopg.errors.SerializationFailure), other.transaction():
        other.execute("set transaction isolation level repeatable read")
        other.execute("select from cad.model")
        change(db, rng, 0)
        db.execute("call cad.refresh_resident('cad')")
        other.execute("select cad._refresh_resident_step('cad', 1000)")
    agrees(db, rng)


def test_a_snapshot_from_before_the_loading_writes_what_is_found(
    db: Database, dsn: str, rng: np.random.Generator, stored: list[Part]
) -> None:
    with psycopg.connect(dsn, autocommit=True) as other:
        with other.transaction():
            other.execute("set transaction isolation level repeatable read")
            other.execute("select from cad.glossary")  # a snapshot, and no lock that matters
            db.execute("call cad.load_resident('cad')")
            change(other, rng, 0)
        assert changed_parts(db) > 0
        agrees(db, rng)


def test_loading_waits_for_whoever_writes(db: Database, dsn: str, rng: np.random.Generator, stored: list[Part]) -> None:
    with psycopg.connect(dsn, autocommit=True) as other, other.transaction():
        change(other, rng, 0)
        with pytest.raises(psycopg.errors.LockNotAvailable) as busy:
            db.execute("call cad.load_resident('cad')")
        assert "again" in (busy.value.diag.message_hint or "")
    assert db.execute("select from cad.resident").fetchall() == []
    db.execute("call cad.load_resident('cad')")
    agrees(db, rng)


def test_searches_agree_while_others_change_and_refresh(
    db: Database, dsn: str, rng: np.random.Generator, parts: list[Part]
) -> None:
    rounds = 6

    def keep_changing() -> None:
        with psycopg.connect(dsn, autocommit=True) as writer:
            for number in range(rounds):
                with writer.transaction(force_rollback=number % 3 == 2):
                    change(writer, np.random.default_rng(number), number)

    def keep_telling() -> None:
        with psycopg.connect(dsn, autocommit=True) as teller:
            for _ in range(rounds):
                teller.execute("call cad.refresh_resident('cad')")

    working = [in_background(keep_changing), in_background(keep_telling)]
    for _ in range(rounds):
        with db.transaction():
            db.execute("set transaction isolation level repeatable read")
            agrees(db, rng)
    for work in working:
        work()
    agrees(db, rng)


# --- tables that move ---------------------------------------------------------------------------------------------


def test_a_family_gets_its_own_partition(db: Database, rng: np.random.Generator, parts: list[Part]) -> None:
    db.execute("call cad.promote_family('nut')")
    agrees(db, rng)
    change(db, rng, 0)
    agrees(db, rng)
    db.execute("call cad.refresh_resident('cad')")
    agrees(db, rng)


def test_vectors_of_another_encoder_are_not_those_that_are_resident(
    db: Database, other: Database, rng: np.random.Generator, parts: list[Part]
) -> None:
    with other.transaction():
        other.execute("set transaction isolation level repeatable read")
        other.execute("select from cad.glossary")
        db.execute("call cad.reembed('cad')")
        agrees(other, rng)  # in the old vectors
    assert db.execute("select in_use from cad.resident_health").fetchall() == [(False,)]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="not resident"):
        search(db, unit_vector(rng), options={"strategy": "resident"})
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="not resident"):
        db.execute("call cad.refresh_resident('cad')")
    assert len(search(db, unit_vector(rng), 10)) == 10
    db.execute("call cad.load_resident('cad')")
    agrees(db, rng)
    db.execute("select cad.drop_previous('cad')")
    change_vectors = "update cad.space_cad set fused_vec = text_vec where text_vec is not null"
    db.execute(change_vectors)
    agrees(db, rng)


# --- the service --------------------------------------------------------------------------------------------------


def test_a_service_that_was_restarted_holds_nothing(
    db: Database, rng: np.random.Generator, parts: list[Part], service: Service
) -> None:
    search(db, unit_vector(rng), options={"strategy": "resident"})
    service.restart()
    status, _, hint = doctor(db) or ()
    assert (status, "cad.load_resident" in hint) == ("warning", True)
    for lost in ("select * from cad.nearest_resident('cad', array[%s::vector])", "call cad.refresh_resident('cad')"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as gone:
            db.execute(lost, [Vector(unit_vector(rng)).to_text()] if "%s" in lost else None)
        assert "cad.load_resident" in (gone.value.diag.message_hint or "")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as gone:
        search(db, unit_vector(rng), options={"strategy": "resident"})
    assert "cad.load_resident" in (gone.value.diag.message_hint or "")
    db.execute("call cad.load_resident('cad')")
    agrees(db, rng)


def test_a_search_that_nobody_wished_resident_does_without_the_service(
    db: Database, rng: np.random.Generator, parts: list[Part], service: Service
) -> None:
    db.execute("call cad.tune('cad', 0.9)")
    assert db.execute("select recall from cad.tuned_scan where kind = 'resident' and chosen").fetchall() == [(1,)]
    db.execute("update cad.tuned_scan set cost_parts = 1, p50_ms = case kind when 'resident' then 1 else 2 end")
    taken = stages(db, unit_vector(rng), 5, options={"weights": ONLY_FUSED})
    assert taken["plan"][0] == {"strategy": "resident", "reason": "measured to be quickest"}
    assert taken["resident"][1] == 5
    for filters in ({"mass_kg": {"max": 0.02}}, {"material": "gold"}):
        assert stages(db, unit_vector(rng), 5, filters=filters)["plan"][0]["strategy"] != "resident"
    service.restart()
    taken = stages(db, unit_vector(rng), 5)
    assert "does not hold the vectors" in taken["resident"][0]["failed"]
    assert taken["plan"][0]["strategy"] in ("iterative", "mixed", "exact")
    assert taken["rerank"][0]["hits"] == 5
    service.process.stop()
    assert "cannot reach" in stages(db, unit_vector(rng), 5)["resident"][0]["failed"]
    assert len(search(db, unit_vector(rng), 5)) == 5
    service.start()
    db.execute("call cad.load_resident('cad')")
    for p50_ms, wins in ((3, True), (5, False)):  # the indexes of two partitions take 4
        db.execute("update cad.tuned_scan set p50_ms = %s where kind = 'resident'", [p50_ms])
        assert (stages(db, unit_vector(rng), 5)["plan"][0]["strategy"] == "resident") is wins


def test_many_changes_are_not_compared_unless_asked_for(
    db: Database, rng: np.random.Generator, parts: list[Part]
) -> None:
    db.execute("call cad.tune('cad', 0.9)")
    db.execute("update cad.tuned_scan set cost_parts = 1, p50_ms = case kind when 'resident' then 1 else 2 end")
    for _ in range(4):
        db.execute("update cad.space_cad set text_vec = null")
    assert stages(db, unit_vector(rng), 5)["plan"][0]["strategy"] != "resident"
    agrees(db, rng)
    db.execute("call cad.refresh_resident('cad')")
    assert stages(db, unit_vector(rng), 5)["plan"][0]["strategy"] == "resident"


def test_what_does_not_fit_is_refused(db: Database, stored: list[Part], service: Service) -> None:
    service.restart("--resident-memory-mb", "1")
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded) as full:
        db.execute("call cad.load_resident('cad')")
    assert "--resident-memory-mb 2" in (full.value.diag.message_hint or "")
    assert db.execute("select from cad.resident").fetchall() == []
    assert db.execute(TRIGGERS).fetchone() == (0,)
    assert service.held() == []


def test_a_loading_that_breaks_off_leaves_searches_as_they_were(
    db: Database, rng: np.random.Generator, stored: list[Part], service: Service
) -> None:
    service.process.stop()
    with pytest.raises(psycopg.OperationalError):
        db.execute("call cad.load_resident('cad')")
    service.start()
    db.execute("select cad._begin_resident('cad')")  # and then its session ends
    assert db.execute("select in_use from cad.resident_health").fetchall() == [(False,)]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="not resident"):
        search(db, unit_vector(rng), options={"strategy": "resident"})
    db.execute("call cad.load_resident('cad')")
    assert len(service.held()) == 1
    agrees(db, rng)


def test_several_spaces_are_resident_side_by_side(
    db: Database, rng: np.random.Generator, parts: list[Part], service: Service
) -> None:
    db.execute("select cad.add_space('extra', 3)")
    db.execute(
        "insert into cad.space_extra (model_id, family, fused_vec, encoder_version)"
        " select model_id, family, '[1,2,3]', 'extra-1' from cad.model"
    )
    db.execute("call cad.load_resident('extra')")
    assert sorted(held["space"] for held in service.held()) == ["cad", "extra"]
    [(score,)] = db.execute(
        "select score from cad.search_cad_vector('extra', '[3,2,1]', 1, options => '{\"strategy\": \"resident\"}')"
    ).fetchall()
    assert score == pytest.approx(10 / 14, abs=1e-3), "of vectors that are not of unit length, too"
    agrees(db, rng)
    db.execute("select cad.drop_resident('extra')")
    assert [held["space"] for held in service.held()] == ["cad"]


def test_what_is_dropped_costs_nothing_any_more(
    db: Database, rng: np.random.Generator, parts: list[Part], service: Service
) -> None:
    change(db, rng, 0)
    db.execute("select cad.drop_resident('cad')")
    assert service.held() == []
    assert db.execute(TRIGGERS).fetchone() == (0,)
    change(db, rng, 1)
    assert db.execute("select from cad.resident_change").fetchall() == []
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="not resident") as refused:
        search(db, unit_vector(rng), options={"strategy": "resident"})
    assert "cad.load_resident" in (refused.value.diag.message_hint or "")
    db.execute("select cad.drop_resident('cad')")
    assert doctor(db) is None


@pytest.mark.parametrize("procedure", ["load_resident", "refresh_resident"])
def test_procedures_refuse_a_transaction_block(db: Database, parts: list[Part], procedure: str) -> None:
    with pytest.raises(psycopg.errors.ActiveSqlTransaction) as refused, db.transaction():
        db.execute(f"call cad.{procedure}('cad')")
    assert refused.value.diag.message_hint
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no space"):
        db.execute(f"call cad.{procedure}('nowhere')")
    assert VERSION in str(db.execute("select encoder_version from cad.resident").fetchall())
