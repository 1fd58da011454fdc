"""Kinds of vector indexes: made, changed and dropped while searches go on, and never an answer that is short."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, search, stages, unit_vector
from psycopg.types.json import Jsonb

Database = psycopg.Connection[Any]

KINDS = {"hnsw": {}, "prefix": {"dim": 256}, "bit": {}, "ivfflat": {"lists": 4}}
STRATEGIES = {"hnsw": "hnsw", "iterative": "hnsw", "prefix": "prefix", "bit": "bit", "ivfflat": "ivfflat"}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def parts(db: Database, rng: np.random.Generator) -> list[Part]:
    """300 parts, more than are looked at as candidates."""
    made = [random_part(rng, number) for number in range(300)]
    insert(db, made)
    return made


def add(db: Database, kind: str, **parameters: int) -> None:
    db.execute("call cad.add_index('cad', %s, %s)", [kind, Jsonb(parameters)])


def standing(db: Database) -> list[tuple[str, int]]:
    """Kind and dimensions of the indexes of the default partition."""
    return db.execute(
        "select kind, dim from cad.index_health"
        " where partition = 'cad.space_cad_default'::regclass and valid order by 1"
    ).fetchall()


def scans(db: Database, kind: str) -> int:
    db.execute("select pg_stat_force_next_flush()")
    [(count,)] = db.execute("select sum(scans) from cad.index_health where kind = %s", [kind]).fetchall()
    return int(count)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.usefixtures("parts")
def test_a_strategy_reads_its_index_and_finds_what_exact_search_finds(
    db: Database, rng: np.random.Generator, strategy: str
) -> None:
    kind = STRATEGIES[strategy]
    if kind != "hnsw":
        add(db, kind, **KINDS[kind])
    before = scans(db, kind)
    overlap = Counter[bool]()
    for _ in range(10):
        probe = unit_vector(rng)
        plan = stages(db, probe, 10, options={"strategy": strategy})
        assert plan["plan"][0] == {"strategy": strategy, "reason": "asked for"}
        assert plan[strategy][1] == 200
        assert "exact" not in plan
        exact = {number for number, _ in search(db, probe, 10, options={"strategy": "exact", "against": "fused"})}
        found = {number for number, _ in search(db, probe, 10, options={"strategy": strategy, "against": "fused"})}
        overlap.update(number in found for number in exact)
    assert overlap[True] / overlap.total() >= 0.8  # random directions are the hardest that there are
    assert scans(db, kind) >= before + 20


@pytest.mark.usefixtures("parts")
def test_filters_leave_no_strategy_short(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    for kind, parameters in KINDS.items():
        add(db, kind, **parameters)
    for strategy in STRATEGIES:
        for upper_kg in (0.01, 0.1, 0.5, 1.0):
            matching = {part.number for part in parts if part.mass_kg is not None and part.mass_kg <= upper_kg}
            found = [
                number
                for number, _ in search(
                    db, unit_vector(rng), 60,
                    filters={"mass_kg": {"max": upper_kg}}, options={"strategy": strategy},
                )
            ]  # fmt: skip
            assert len(found) == len(set(found)) == min(60, len(matching)), (strategy, upper_kg)
            assert set(found) <= matching


def test_a_broad_filter_looks_only_at_the_parts_that_a_scan_meets(db: Database, rng: np.random.Generator) -> None:
    insert(db, [random_part(rng, number) for number in range(1500)])
    db.execute("analyze cad.model")
    with db.transaction():
        search(
            db,
            unit_vector(rng),
            10,
            filters={"mass_kg": {"min": 0}},
            options={"strategy": "iterative", "against": "fused"},
        )
        looked_at = db.execute(
            "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relid = 'cad.model'::regclass"
        ).fetchone()
    assert looked_at is not None and 20 <= looked_at[0] < 500


def test_every_partition_gets_the_indexes_of_its_space(db: Database, parts: list[Part]) -> None:
    add(db, "bit")
    db.execute("call cad.promote_family('bolt')")
    add(db, "prefix", dim=64)
    kinds = db.execute("select kind, count(*) from cad.index_health where valid group by kind order by kind").fetchall()
    assert kinds == [("bit", 2), ("hnsw", 2), ("prefix", 2)]
    assert db.execute("select status from cad.doctor() where check_name = 'vector indexes'").fetchall() == [("ok",)]


@pytest.mark.usefixtures("parts")
def test_an_index_with_other_parameters_takes_the_place_of_the_old_one(db: Database) -> None:
    add(db, "prefix", dim=64)
    assert standing(db) == [("hnsw", 512), ("prefix", 64)]
    add(db, "prefix", dim=256, m=8)
    assert standing(db) == [("hnsw", 512), ("prefix", 256)]
    before = db.execute("select index from cad.index_health order by 1").fetchall()
    add(db, "prefix", dim=256, m=8)
    assert db.execute("select index from cad.index_health order by 1").fetchall() == before, "built twice"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parts_without_a_direction_are_not_lost(
    db: Database, parts: list[Part], rng: np.random.Generator, strategy: str
) -> None:
    """Of some the vector is zero, of others the dimensions that a prefix has."""
    kind = STRATEGIES[strategy]
    if kind != "hnsw":
        add(db, kind, **KINDS[kind])
    numbers = "(select model_id from cad.model where part_number = any(%s))"
    for vector, some in (("array_fill(0, array[512])", parts[:20]), ("array_fill(0, array[511]) || 1", parts[20:40])):
        db.execute(
            f"update cad.space_cad set fused_vec = ({vector})::vector::halfvec where model_id in {numbers}",
            [[part.number for part in some]],
        )
    for k in (5, 290, 300):
        found = search(db, unit_vector(rng), k, options={"strategy": strategy, "against": "fused"})
        assert len({number for number, _ in found}) == k


@pytest.mark.parametrize(("kind", "fewest"), [("prefix", 150), ("bit", 300)])
@pytest.mark.usefixtures("parts")
def test_where_more_are_wanted_more_are_compared_whole(
    db: Database, rng: np.random.Generator, kind: str, fewest: int
) -> None:
    """What is indexed tells less than the whole vector: of as many as are wanted, some would not be the nearest."""
    add(db, kind, **KINDS[kind])
    options = {"strategy": kind, "against": "fused"}
    taken = stages(db, unit_vector(rng), 100, options=options)[kind][0]["scans"]
    assert [scan["candidates"] for scan in taken] == [fewest]


@pytest.mark.usefixtures("parts")
def test_a_profile_that_finds_less_leaves_the_old_index(db: Database, rng: np.random.Generator) -> None:
    """Vectors drawn at random are told apart by all of their dimensions alone."""
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="of the ten nearest") as refused:
        db.execute("call cad.use_profile('cad', 'compact')")
    assert "least_recall" in (refused.value.diag.message_hint or "")
    assert standing(db) == [("hnsw", 512), ("ivfflat", 96)]
    db.execute("create or replace function cad._default_scan_cost() returns int language sql return 1")
    assert stages(db, unit_vector(rng))["plan"][0]["strategy"] == "iterative"
    assert db.execute("select status from cad.doctor() where check_name = 'vector indexes'").fetchall() == [("ok",)]
    db.execute("call cad.use_profile('cad', 'compact', least_recall => 0)")
    assert standing(db) == [("ivfflat", 96)]


@pytest.mark.usefixtures("parts")
def test_a_profile_is_judged_by_its_own_index_alone(db: Database) -> None:
    """Not by one of the same kind that it takes the place of."""
    add(db, "ivfflat", dim=2)
    db.execute("call cad.use_profile('cad', 'compact', least_recall => 0.3)")
    assert standing(db) == [("ivfflat", 96)]


@pytest.mark.usefixtures("parts")
def test_profiles_replace_each_other(db: Database) -> None:
    for profile, indexes in (
        ("compact", [("ivfflat", 96)]), ("fast", [("ivfflat", 128)]), ("growing", [("hnsw", 512)]),
    ):  # fmt: skip
        db.execute("call cad.use_profile('cad', %s, least_recall => 0)", [profile])
        assert standing(db) == indexes
        assert db.execute("select jsonb_object_keys(config -> 'indexes') from cad.space").fetchall() == [
            (kind,) for kind, _ in indexes
        ]


def lists(db: Database) -> list[int]:
    return [
        int(parameter.removeprefix("lists="))
        for (parameters,) in db.execute("select parameters from cad.index_health where kind = 'ivfflat' order by index")
        for parameter in parameters
    ]


def test_lists_that_parts_have_outgrown_are_made_anew(db: Database, rng: np.random.Generator) -> None:
    add(db, "ivfflat", dim=64)
    assert lists(db) == [10]
    insert(db, [random_part(rng, number) for number in range(300)])
    db.execute("analyze cad.space_cad")
    outgrown = "select status, detail from cad.doctor() where check_name = 'lists'"
    assert db.execute(outgrown).fetchall() == [("warning", "space_cad_default: ivfflat")]
    unindexed = "select status from cad.doctor() where check_name = 'vector indexes'"
    assert db.execute(unindexed).fetchall() == [("ok",)]
    db.execute("call cad.add_index('cad', 'ivfflat', least_recall => 0)")
    assert lists(db) == [35]
    assert db.execute(outgrown).fetchall() == [("ok", "as many as the parts want")]
    before = db.execute("select index from cad.index_health order by 1").fetchall()
    add(db, "ivfflat", dim=64)
    assert db.execute("select index from cad.index_health order by 1").fetchall() == before, "built twice"
    add(db, "ivfflat", dim=64, lists=3)
    assert lists(db) == [3], "somebody's wish"
    assert db.execute(outgrown).fetchall() == [("ok", "as many as the parts want")]


@pytest.mark.usefixtures("parts")
def test_without_an_index_every_part_is_compared(db: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    by_index = search(db, probe, 10)
    db.execute("select cad.drop_index('cad', 'hnsw')")
    assert standing(db) == []
    assert search(db, probe, 10) == by_index
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="needs an index of kind hnsw") as refused:
        search(db, probe, 10, options={"strategy": "iterative"})
    assert "cad.add_index" in (refused.value.diag.message_hint or "")
    assert db.execute("select status from cad.doctor() where check_name = 'vector indexes'").fetchall() == [("error",)]


def test_the_plan_takes_an_index_only_where_it_is_valid_on_every_partition(
    db: Database, parts: list[Part], rng: np.random.Generator
) -> None:
    db.execute(
        "insert into cad.model (name, kind, format, family, sha256)"
        " select 'x', 'part', 'step', 'other', sha256(int4send(n)) from generate_series(1, 5000) as n"
    )
    db.execute("analyze cad.model")
    add(db, "prefix", dim=64)
    probe = unit_vector(rng)
    assert stages(db, probe)["plan"][0] == {"strategy": "iterative", "reason": "many parts match"}
    for kind, otherwise in (("hnsw", "prefix"), ("prefix", "exact")):
        db.execute(
            "update pg_index as x set indisvalid = false from cad.index_health as h"
            " where h.index = x.indexrelid and h.kind = %s",
            [kind],
        )
        assert stages(db, probe)["plan"][0]["strategy"] == otherwise
        assert len(search(db, probe, 10)) == 10
    broken = "select status from cad.doctor() where check_name in ('indexes', 'vector indexes')"
    assert db.execute(broken).fetchall() == [("error",), ("error",)]
    add(db, "prefix", dim=64)
    assert stages(db, probe)["plan"][0]["strategy"] == "prefix", "made anew"


@pytest.mark.usefixtures("parts")
def test_an_index_made_by_hand_serves(db: Database, rng: np.random.Generator) -> None:
    db.execute(
        "create index by_hand on cad.space_cad_default"
        " using hnsw ((subvector(fused_vec, 1, 96)::halfvec(96)) halfvec_cosine_ops)"
    )
    assert ("prefix", 96) in standing(db)
    plan = stages(db, unit_vector(rng), options={"strategy": "prefix"})
    assert plan["prefix"][0]["scans"][0]["dim"] == 96
    add(db, "bit")
    assert standing(db) == [("bit", 512), ("hnsw", 512), ("prefix", 96)], "it is not ours to drop"


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("tree", {}, "no kind of index 'tree'"),
        (None, {}, "no kind of index null"),
        ("hnsw", [], "must be a JSON object"),
        ("hnsw", {"lists": 4}, "cannot have lists = 4"),
        ("hnsw", {"m": 1}, "cannot have m = 1"),
        ("hnsw", {"m": "many"}, "cannot have m"),
        ("hnsw", {"m": 16.5}, "cannot have m = 16.5"),
        ("hnsw", {"m": 100, "ef_construction": 40}, "at least 2 m, here 200"),
        ("prefix", {"dim": 513}, "the prefix has 513 dimensions"),
        ("ivfflat", {"lists": 0}, "cannot have lists = 0"),
        ("ivfflat", {"dim": 513}, "has 513 dimensions"),
    ],
)
def test_parameters_that_no_index_has_are_refused(db: Database, kind: Any, parameters: Any, message: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message) as refused:
        db.execute("call cad.add_index('cad', %s, %s)", [kind, Jsonb(parameters)])
    assert refused.value.diag.message_hint
    assert standing(db) == [("hnsw", 512)]


@pytest.mark.parametrize(
    "call",
    [
        "call cad.add_index('nowhere', 'bit')",
        "call cad.use_profile('nowhere', 'fast')",
        "call cad.use_profile('cad', 'cheap')",
        "select cad.drop_index('nowhere', 'bit')",
        "select cad.drop_index('cad', 'tree')",
    ],
)
def test_what_is_not_there_is_refused(db: Database, call: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute(call)


@pytest.mark.parametrize("call", ["call cad.add_index('cad', 'bit')", "call cad.use_profile('cad', 'fast')"])
def test_inside_a_transaction_they_say_why_not(db: Database, call: str) -> None:
    with db.transaction(), pytest.raises(psycopg.errors.ActiveSqlTransaction, match="transaction block"):
        db.execute(call)


@pytest.mark.usefixtures("parts")
def test_an_interrupted_build_goes_on_and_the_old_index_serves_meanwhile(
    db: Database, dsn: str, rng: np.random.Generator
) -> None:
    db.execute("call cad.promote_family('bolt')")
    probe = unit_vector(rng)
    with psycopg.connect(dsn) as writer:
        writer.execute("update cad.space_cad_default set text_md5 = null")  # whose lock keeps the build out
        with pytest.raises(psycopg.errors.QueryCanceled):
            db.execute("set statement_timeout = '1s'")
            add(db, "prefix", dim=64)
        db.execute("reset statement_timeout")
        assert len(search(db, probe, 10, options={"strategy": "iterative"})) == 10
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            search(db, probe, 10, options={"strategy": "prefix"})
    add(db, "prefix", dim=64)
    assert len(search(db, probe, 10, options={"strategy": "prefix"})) == 10


def test_a_space_of_few_dimensions_has_no_use_for_a_longer_prefix(db: Database) -> None:
    db.execute("select cad.add_space('tiny', 3)")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no use for a prefix of 128"):
        db.execute("call cad.add_index('tiny', 'prefix')")
    db.execute("call cad.add_index('tiny', 'prefix', '{\"dim\": 2}')")
    assert db.execute("select kind, dim from cad.index_health where space = 'tiny' order by 1").fetchall() == [
        ("hnsw", 3), ("prefix", 2),
    ]  # fmt: skip
