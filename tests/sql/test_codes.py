"""Codes of vectors: trained from the database's own, current in the transaction that changes a part, never wrong."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, search, stages, unit_vector
from numpy.typing import NDArray
from pgcad_load.cluster import LocalCluster, bindir
from pgvector import HalfVector
from psycopg.types.json import Jsonb
from service_doubles.process import eventually
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]
SMALL = Jsonb({"tables": 8, "bits": 6, "subvectors": 16, "seed": 7})
STRATEGIES = ("lsh", "tri")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(31)


def clustered(rng: np.random.Generator, count: int, first: int = 0) -> list[Part]:
    """Parts in clusters of ten whose fused vectors lie in a cone, as those of real parts do."""
    made, cone = [], 2 * unit_vector(rng)
    for number in range(first, first + count):
        if number % 10 == 0 or number == first:
            centre = cone + unit_vector(rng)
        part = random_part(rng, number)
        vector = centre + 0.4 * unit_vector(rng)
        part.vectors["fused"] = (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)
        made.append(part)
    return made


@pytest.fixture
def parts(db: Database, scripted: ScriptedService, rng: np.random.Generator) -> list[Part]:
    """400 parts, more than are looked at as candidates, without codes."""
    made = clustered(rng, 400)
    insert(db, made)
    db.execute("analyze cad.model")
    return made


@pytest.fixture
def trained(db: Database, parts: list[Part]) -> list[Part]:
    db.execute("call cad.train_codes('cad', %s)", [SMALL])
    return parts


def fused(part: Part) -> NDArray[np.float32]:
    vector = part.vectors["fused"]
    assert vector is not None
    return vector


def health(db: Database, columns: str = "state, parts, parts_without_code") -> list[tuple[Any, ...]]:
    return db.execute(f"select {columns} from cad.code_health order by version").fetchall()


def nearest(db: Database, vector: NDArray[np.float32], strategy: str, k: int = 10, **filters: Any) -> list[str]:
    options = {"against": "fused", "strategy": strategy}
    return [number for number, _ in search(db, vector, k, filters=filters, options=options)]


def move(db: Database, number: str, vector: NDArray[np.float32] | None) -> None:
    """Give a part another fused vector."""
    db.execute(
        "update cad.space_cad as s set fused_vec = %s from cad.model as m"
        " where m.model_id = s.model_id and m.part_number = %s",
        [None if vector is None else HalfVector(vector).to_text(), number],
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_codes_find_what_exact_search_finds(db: Database, trained: list[Part], strategy: str) -> None:
    found, family = [], {part.number: part.family for part in trained}
    for part in trained[5::25]:
        exact, by_code = (nearest(db, fused(part), way) for way in ("exact", strategy))
        assert by_code[0] == part.number
        found.append(len(set(exact) & set(by_code)))
        filtered = nearest(db, fused(part), strategy, family=["bolt", "nut"], mass_kg={"max": 0.5})
        assert len(filtered) == 10
        assert {family[number] for number in filtered} <= {"bolt", "nut"}
    assert np.mean(found) > 9


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("strategy", "expected"), [("lsh", ["buckets", "compare"]), ("tri", ["buckets", "hnsw", "compare"])]
)
def test_the_stages_of_a_search_are_shown(db: Database, parts: list[Part], strategy: str, expected: list[str]) -> None:
    shown = stages(db, fused(parts[0]), options={"strategy": strategy, "against": "fused"})
    [scan] = shown[strategy][0]["scans"]
    assert [stage["stage"] for stage in scan["stages"]] == expected
    assert all(stage["elapsed_ms"] >= 0 and stage["candidates"] > 0 for stage in scan["stages"])
    buckets, *_, compare = scan["stages"]
    assert 20 <= buckets["candidates"] < 400, "it looked at nearly all parts, or at nearly none"
    if strategy == "tri":  # the product codes told which were worth comparing
        assert buckets["detail"]["kept"] == 100 < buckets["candidates"]
        assert compare["candidates"] == 140
    assert "exact" not in shown


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_never_fewer_than_wanted(db: Database, trained: list[Part], rng: np.random.Generator, strategy: str) -> None:
    """Where the buckets give too few, exact search makes up for it."""
    shown = stages(db, -fused(trained[0]), 399, options={"strategy": strategy, "against": "fused"})
    assert shown["exact"][0]["because"] == f"{strategy} came back short"
    assert len(nearest(db, unit_vector(rng), strategy, 399)) == 399
    assert len(nearest(db, unit_vector(rng), strategy, 10, material="brass", kind="assembly")) == 10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_codes_a_strategy_is_refused(db: Database, parts: list[Part], strategy: str) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="needs codes") as refused:
        nearest(db, fused(parts[0]), strategy)
    assert refused.value.diag.message_hint is not None
    assert "call cad.train_codes" in refused.value.diag.message_hint
    assert stages(db, fused(parts[0]))["plan"][0]["strategy"] == "exact"


# --- changes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_changes_are_found_in_their_own_transaction(
    db: Database, trained: list[Part], rng: np.random.Generator, strategy: str
) -> None:
    new = random_part(rng, 9001)
    with db.transaction():
        insert(db, [new])
        assert nearest(db, fused(new), strategy, 1) == [new.number]
        db.execute("delete from cad.model where part_number = %s", [new.number])
        assert new.number not in nearest(db, fused(new), strategy, 100)
    there = unit_vector(rng)
    move(db, trained[3].number, there)
    assert nearest(db, there, strategy, 1) == [trained[3].number]
    assert trained[3].number not in nearest(db, fused(trained[3]), strategy)
    assert health(db) == [("serving", 400, 1)]


def test_the_lag_is_visible_and_is_caught_up_with(db: Database, trained: list[Part], rng: np.random.Generator) -> None:
    check = "select status, hint from cad.doctor() where check_name = 'codes of space cad'"
    assert db.execute(check).fetchone() == ("ok", None)
    new = clustered(rng, 100, 2000)
    insert(db, new)
    assert health(db) == [("serving", 500, 100)]
    status, hint = db.execute(check).fetchone() or ("", "")
    assert (status, "call cad.encode_parts('cad')" in hint) == ("warning", True)
    before = [nearest(db, fused(part), "tri") for part in new[::10]]
    db.execute("call cad.encode_parts('cad')")
    assert health(db) == [("serving", 500, 0)]
    assert db.execute(check).fetchone() == ("ok", None)
    assert [nearest(db, fused(part), "tri")[0] for part in new[::10]] == [found[0] for found in before]
    db.execute("update cad.codebook set parts = 50")
    status, hint = db.execute(check).fetchone() or ("", "")
    assert (status, "call cad.train_codes('cad')" in hint) == ("warning", True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_part_without_a_direction_breaks_nothing(db: Database, trained: list[Part], strategy: str) -> None:
    move(db, trained[0].number, None)
    move(db, trained[1].number, np.zeros(512, np.float32))
    assert health(db) == [("serving", 398, 0)]
    for asked in trained[:2]:
        assert not {trained[0].number, trained[1].number} & set(nearest(db, fused(asked), strategy, 100))
    db.execute("call cad.train_codes('cad', %s)", [SMALL])
    assert health(db) == [("serving", 398, 0)]
    assert nearest(db, fused(trained[2]), strategy, 1) == [trained[2].number]
    assert len(nearest(db, fused(trained[2]), strategy, 400)) == 400
    with pytest.raises(psycopg.errors.DataException, match="NaN"):
        db.execute("update cad.space_cad set fused_vec = replace(fused_vec::text, '[', '[NaN,')::halfvec")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_promoted_family_keeps_its_codes(db: Database, trained: list[Part], strategy: str) -> None:
    before = [nearest(db, fused(part), "exact") for part in trained[:200:20]]
    db.execute("call cad.promote_family('bolt')")
    assert health(db) == [("serving", 400, 0)]
    [bolt] = [part for part in trained if part.family == "bolt"][:1]
    [nut] = [part for part in trained if part.family == "nut"][:1]
    for part in (bolt, nut):
        assert nearest(db, fused(part), strategy, 1) == [part.number]
    assert nearest(db, fused(bolt), strategy, 1, family="bolt") == [bolt.number]
    found = [nearest(db, fused(part), strategy) for part in trained[:200:20]]
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found, before, strict=True)]) > 9
    db.execute("update cad.model set family = 'bolt' where part_number = %s", [nut.number])
    assert nearest(db, fused(nut), strategy, 1, family="bolt") == [nut.number]
    assert health(db) == [("serving", 400, 0)], "another family is no other vector"


# --- training -----------------------------------------------------------------------------------------------------


def test_too_few_vectors_are_refused(db: Database, scripted: ScriptedService, rng: np.random.Generator) -> None:
    made = clustered(rng, 255)
    insert(db, made)
    same = random_part(rng, 900)
    same.vectors["fused"] = made[0].vectors["fused"]  # as many as are needed, but not as many different ones
    insert(db, [same])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="only 255 different vectors") as refused:
        db.execute("call cad.train_codes('cad')")
    assert "256" in (refused.value.diag.message_hint or "")
    assert health(db) == []


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(
    ("parameters", "hint"),
    [
        ({"tables": 33}, "from 1 to 32"),
        ({"bits": 5.5}, "from 4 to 16"),
        ({"subvectors": 0}, "from 1 to 256"),
        ({"centroids": 16}, "Known parameters: bits, seed, subvectors, tables."),
        ([], "Give {}"),
    ],
)
def test_parameters_that_codes_cannot_have(db: Database, parameters: Any, hint: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute("call cad.train_codes('cad', %s)", [Jsonb(parameters)])
    assert hint in (refused.value.diag.message_hint or "")


def test_the_same_seed_makes_the_same_codes(db: Database, trained: list[Part]) -> None:
    made = (
        "select model_id, array(select b & 2097151 from unnest(buckets) as b order by 1), code"
        " from cad.part_code order by 1"
    )
    first = db.execute(made).fetchall()
    db.execute("call cad.train_codes('cad', %s)", [SMALL])
    assert db.execute(made).fetchall() == first
    db.execute("call cad.train_codes('cad', %s)", [Jsonb(SMALL.obj | {"seed": 8})])
    assert db.execute(made).fetchall() != first


def test_buckets_are_balanced(db: Database, trained: list[Part]) -> None:
    """Though all vectors lie in a cone: each hyperplane has parts on both of its sides."""
    shares = db.execute(
        "select avg(b.bucket >> bit & 1) from cad.part_code as c cross join unnest(c.buckets) as b (bucket)"
        " cross join generate_series(0, 5) as bit group by b.bucket >> 16, bit"
    ).fetchall()
    assert len(shares) == 48
    assert all(0.2 < share < 0.8 for (share,) in shares)


def test_the_old_version_serves_until_the_new_one_is_complete(
    db: Database, dsn: str, scripted: ScriptedService, trained: list[Part], rng: np.random.Generator
) -> None:
    reached, go_on, new = threading.Event(), threading.Event(), random_part(rng, 9002)

    def wait() -> None:
        reached.set()
        assert go_on.wait(60)

    def train() -> None:
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("call cad.train_codes('cad', '{\"subvectors\": 8}')")

    db.execute(f"alter database {db.info.dbname} set pgcad.ingest_timeout_ms = 60000")
    scripted.on_batch = wait
    trainer = threading.Thread(target=train)
    trainer.start()
    assert reached.wait(60)
    assert [state for state, *_ in health(db)] == ["serving", "building"]
    insert(db, [new])
    assert health(db) == [("serving", 401, 1), ("building", 1, 1)]
    assert nearest(db, fused(new), "tri", 1) == [new.number]
    go_on.set()
    trainer.join(60)
    assert health(db, "state, parts, parts_without_code, subvectors") == [("serving", 401, 0, 8)]
    assert nearest(db, fused(new), "tri", 1) == [new.number]


def test_an_interrupted_training_goes_on(db: Database, scripted: ScriptedService, trained: list[Part]) -> None:
    scripted.batches_left = 0
    with pytest.raises(psycopg.errors.ConnectionFailure):
        db.execute("call cad.train_codes('cad', '{\"subvectors\": 8}')")
    assert health(db) == [("serving", 400, 0), ("building", 0, 0)]
    assert nearest(db, fused(trained[5]), "lsh", 1) == [trained[5].number]
    [(status, hint)] = db.execute(
        "select status, hint from cad.doctor() where check_name = 'codes of space cad' and status <> 'ok'"
    ).fetchall()
    assert (status, "call cad.encode_parts('cad')" in hint) == ("warning", True)
    scripted.batches_left = 100
    db.execute("call cad.encode_parts('cad')")
    assert health(db, "state, parts, parts_without_code, subvectors") == [("serving", 400, 0, 8)]


def test_codes_of_another_encoder_are_not_used(db: Database, trained: list[Part]) -> None:
    db.execute("update cad.space set encoder_version = 'known-2' where name = 'cad'")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="needs codes"):
        nearest(db, fused(trained[0]), "lsh")
    assert health(db, "state") == [("void",)]
    status, hint = db.execute(
        "select status, hint from cad.doctor() where check_name = 'codes of space cad'"
    ).fetchone() or ("", "")
    assert (status, "call cad.train_codes('cad')" in hint) == ("warning", True)
    db.execute("update cad.space set encoder_version = 'known-1' where name = 'cad'")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):  # nobody knows what happened meanwhile
        nearest(db, fused(trained[0]), "lsh")
    db.execute("call cad.train_codes('cad', %s)", [SMALL])
    assert nearest(db, fused(trained[0]), "lsh", 1) == [trained[0].number]
    db.execute("select cad.drop_codes('cad')")
    assert db.execute("select count(*) from cad.part_code").fetchone() == (0,)


def test_training_commits_as_it_goes(db: Database, parts: list[Part]) -> None:
    for procedure in ("train_codes", "encode_parts"):
        with pytest.raises(psycopg.errors.ActiveSqlTransaction), db.transaction():
            db.execute(f"call cad.{procedure}('cad')")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has no codes"):
        db.execute("call cad.encode_parts('cad')")


def test_a_space_of_any_size_has_codes(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    """Also one whose vectors are imported, not of unit length, and do not divide into the subvectors."""
    db.execute("select cad.add_space('mine', 7)")
    ids = [row[0] for row in db.execute("select model_id from cad.model order by part_number").fetchall()]
    vectors = rng.normal(size=(len(ids), 7)).astype(np.float32)
    with db.cursor() as cursor:
        cursor.executemany(
            "insert into cad.space_mine (model_id, family, fused_vec, encoder_version)"
            " select model_id, family, %s, 'mine-1' from cad.model where model_id = %s",
            [(HalfVector(vector).to_text(), part) for vector, part in zip(vectors, ids, strict=True)],
        )
    db.execute("call cad.train_codes('mine', '{\"subvectors\": 4, \"seed\": 1}')")
    assert health(db, "space, state, parts, parts_without_code, subvectors") == [("mine", "serving", 400, 0, 4)]
    for strategy in STRATEGIES:
        options = Jsonb({"space": "mine", "strategy": strategy})
        for number in range(0, 400, 50):
            assert db.execute(
                "select model_id from cad.search_cad_vector('mine', %s::vector, 1, options => %s)",
                [vectors[number].tolist(), options],
            ).fetchone() == (ids[number],)


def test_a_restored_database_has_the_codes_that_were_dumped(
    db: Database, dsn: str, cluster: LocalCluster, trained: list[Part], rng: np.random.Generator, tmp_path: Path
) -> None:
    """Those of the parts that changed since the training, too, whatever is loaded first."""
    move(db, trained[0].number, unit_vector(rng))
    rows = "select version, model_id, family, vector_md5, buckets, code from cad.part_code order by 2"
    dumped, name = db.execute(rows).fetchall(), f"{db.info.dbname}_restored"
    subprocess.run([bindir() / "pg_dump", "-Fc", "-f", tmp_path / "dump", dsn], check=True)
    db.execute(f"create database {name} template template0")
    try:
        subprocess.run(
            [bindir() / "pg_restore", "--exit-on-error", "-d", cluster.dsn(name), tmp_path / "dump"], check=True
        )
        with cluster.connect(name) as restored:
            assert restored.execute(rows).fetchall() == dumped
            for strategy in STRATEGIES:
                asked = fused(trained[7])
                assert nearest(restored, asked, strategy, 5) == nearest(db, asked, strategy, 5)
            move(restored, trained[1].number, fused(trained[300]))
            assert trained[1].number in nearest(restored, fused(trained[300]), "lsh")
            assert health(restored) == [("serving", 400, 2)]
    finally:
        db.execute(f"drop database {name} with (force)")


# --- tuning, rights -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("trained")
def test_codes_are_measured_and_chosen_where_they_win(db: Database, parts: list[Part]) -> None:
    db.execute("call cad.tune('cad', 0.5)")
    measured = dict(
        db.execute("select kind, array_agg(setting order by setting) from cad.tuned_scan group by kind").fetchall()
    )
    assert measured["lsh"] == measured["tri"] == [1, 2, 4, 8, 16, 32]
    db.execute("update cad.tuned_scan set cost_parts = 1, p50_ms = case kind when 'tri' then 0.001 else 9 end")
    [setting] = db.execute("select setting from cad.tuned_scan where kind = 'tri' and chosen").fetchone() or [0]
    shown = stages(db, fused(parts[0]), 10, options={"weights": {"text": 0, "image": 0, "shape": 0, "fused": 1}})
    assert shown["plan"][0]["strategy"] == "tri"
    assert shown["tri"][0]["scans"][0]["probes"] == setting
    db.execute("select cad.drop_codes('cad')")
    assert stages(db, fused(parts[0]))["plan"][0]["strategy"] != "tri"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_row_level_security_holds(
    db: Database, dsn: str, trained: list[Part], connect_as: Callable[[str], Database], strategy: str
) -> None:
    db.execute("alter table cad.model enable row level security")
    db.execute("create policy visible on cad.model using (family <> 'bolt')")
    [status, detail] = db.execute(
        "select status, detail from cad.doctor() where check_name = 'row level security'"
    ).fetchone() or ("", "")
    assert (status, "part_code" in detail) == ("warning", True)
    reader = connect_as("reader")
    bolt = next(part for part in trained if part.family == "bolt")
    found = nearest(reader, fused(bolt), strategy, 50)
    assert len(found) == 50
    assert not [number for number in found if number.startswith("BO")]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("call cad.train_codes('cad')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("select cad.drop_codes('cad')")


@pytest.fixture
def connect_as(db: Database, dsn: str) -> Any:
    opened: list[Database] = []

    def connect(level: str) -> Database:
        db.execute(f"create role test_codes_{level} login")
        db.execute("select cad.grant_to(%s, %s)", [f"test_codes_{level}", level])
        opened.append(psycopg.connect(dsn, user=f"test_codes_{level}", autocommit=True))
        return opened[-1]

    yield connect
    for connection in opened:
        role = connection.info.user
        connection.close()
        db.execute(f"drop owned by {role}")
        db.execute(f"drop role {role}")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parts_deleted_while_others_search_are_no_error(
    db: Database, dsn: str, trained: list[Part], strategy: str
) -> None:
    """A part may go between the candidates and the rerank; a search sees it wholly or not at all."""
    failures: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as other:
                while not stop.is_set():
                    assert len(nearest(other, fused(trained[0]), strategy)) == 10
        except BaseException as failure:
            failures.append(failure)

    asker = threading.Thread(target=ask)
    asker.start()
    for part in trained[:60]:
        db.execute("delete from cad.model where part_number = %s", [part.number])
    stop.set()
    asker.join(60)
    assert failures == []
    assert health(db) == [("serving", 340, 0)]
    assert not {part.number for part in trained[:60]} & set(nearest(db, fused(trained[0]), strategy, 100))


@pytest.mark.usefixtures("trained")
def test_an_administrator_trains(db: Database, connect_as: Callable[[str], Database]) -> None:
    admin = connect_as("admin")
    admin.execute("call cad.train_codes('cad', '{\"subvectors\": 8}')")
    assert health(admin, "state, subvectors, made_by") == [("serving", 8, "test_codes_admin")]
    eventually(lambda: health(db, "state") == [("serving",)])
