"""Scans of indexes: planned partition by partition, measured and set by cad.tune, and taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import MODALITIES, Part, insert, random_part, search, stages, unit_vector
from psycopg.types.json import Jsonb

Database = psycopg.Connection[Any]

ONLY_FUSED = {"fused": 1, "text": 0, "image": 0, "shape": 0}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(23)


@pytest.fixture
def parts(db: Database, rng: np.random.Generator) -> list[Part]:
    """400 parts in three partitions; any index scan is taken to be quicker than comparing."""
    made = [random_part(rng, number) for number in range(400)]
    insert(db, made)
    for family in ("bolt", "nut"):
        db.execute("call cad.promote_family(%s)", [family])
    db.execute("analyze cad.model")
    db.execute("analyze cad.space_cad")
    db.execute("create or replace function cad._default_scan_cost() returns int language sql return 1")
    return made


def ways(db: Database, rng: np.random.Generator, **filters: Any) -> dict[str, str]:
    """How a search would scan each partition: partition to kind of index, or exact."""
    plan = stages(db, unit_vector(rng), 10, filters=filters)
    strategy = plan["plan"][0]["strategy"]
    return {
        scan["partition"].removeprefix("space_cad_").split("_")[0]: scan.get("kind", "exact")
        for scan in plan[strategy][0].get("scans", [])
    }


def drop_index(db: Database, family: str) -> None:
    [(index,)] = db.execute(
        "select index from cad.index_health where partition::text like %s", [f"%space_cad_{family}%"]
    ).fetchall()
    db.execute(f"drop index cad.{index}")


@pytest.mark.usefixtures("parts")
def test_every_partition_has_a_scan_of_its_own(db: Database, rng: np.random.Generator) -> None:
    assert ways(db, rng) == {"default": "hnsw", "bolt": "hnsw", "nut": "hnsw"}
    drop_index(db, "nut")
    assert ways(db, rng) == {"default": "hnsw", "bolt": "hnsw", "nut": "exact"}
    assert stages(db, unit_vector(rng))["plan"][0]["strategy"] == "mixed"
    db.execute("call cad.add_index('cad', 'bit')")
    assert ways(db, rng) == {"default": "hnsw", "bolt": "hnsw", "nut": "bit"}


@pytest.mark.usefixtures("parts")
def test_partitions_without_the_family_are_left_alone(db: Database, rng: np.random.Generator) -> None:
    assert set(ways(db, rng, family="nut")) == {"nut"}
    assert set(ways(db, rng, family=["bolt", "nut"])) == {"bolt", "nut"}
    assert set(ways(db, rng, family=["bolt", "washer"])) == {"bolt", "default"}
    assert set(ways(db, rng, family="washer")) == {"default"}


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("lacking", [None, "bolt", "default"])
def test_partitions_scanned_in_different_ways_give_what_one_would(
    db: Database, rng: np.random.Generator, lacking: str | None
) -> None:
    if lacking:
        drop_index(db, lacking)
    found = wanted = 0
    for family in (None, "bolt", "washer", ["bolt", "bearing"], ["nut", "bolt", "washer"]):
        for upper_kg in (0.02, 0.4, None):
            filters = {"family": family, "mass_kg": upper_kg and {"max": upper_kg}}
            filters = {key: value for key, value in filters.items() if value}
            probe, options = unit_vector(rng), {"against": "fused"}
            exact = search(db, probe, 50, filters=filters, options=options | {"strategy": "exact"})
            planned = search(db, probe, 50, filters=filters)
            assert len(planned) == len({number for number, _ in planned}) == len(exact)
            first = {number for number, _ in exact[:10]}
            fused = search(db, probe, 10, filters=filters, options={"weights": ONLY_FUSED})
            found, wanted = found + len(first & {number for number, _ in fused}), wanted + len(first)
    assert found / wanted > 0.9


def tuned(db: Database, columns: str = "*") -> list[tuple[Any, ...]]:
    return db.execute(
        f"select {columns} from cad.tuned_scan inner join cad.tuning using (space, version)"
        " where in_force and chosen order by vectors, kind"
    ).fetchall()


@pytest.mark.usefixtures("parts")
def test_searches_follow_what_was_measured(db: Database, rng: np.random.Generator) -> None:
    db.execute("call cad.add_index('cad', 'ivfflat', '{\"lists\": 20}')")
    db.execute("call cad.tune('cad', 0.9)")
    evidence = "select count(*), min(recall), max(recall), bool_and(recall_low <= recall) from cad.tuned_scan"
    [(count, least, most, ordered)] = db.execute(evidence).fetchall()
    assert (count, ordered) == (3 * (8 + 11), True)  # with 20 lists, 20 probes and more are the same
    assert 0 < least < most <= 1
    chosen = tuned(db, "vectors, kind, dim, setting, recall, p50_ms, p95_ms, cost_parts")
    assert len(chosen) == 6
    assert all(recall >= 0.9 and p50_ms <= p95_ms and cost > 0 for *_, recall, p50_ms, p95_ms, cost in chosen)
    for strategy, index, setting in (("iterative", "hnsw", "ef_search"), ("ivfflat", "ivfflat", "probes")):
        scans = stages(db, unit_vector(rng), options={"strategy": strategy})[strategy][0]["scans"]
        assert {scan["partition"]: scan[setting] for scan in scans} == {
            vectors: value for vectors, kind, _, value, *_ in chosen if kind == index
        }
    db.execute("update cad.tuned_scan set cost_parts = 1")  # or few parts match
    for quicker in ("ivfflat", "hnsw"):
        db.execute("update cad.tuned_scan set p50_ms = case kind when %s then 1 else 2 end", [quicker])
        assert set(ways(db, rng).values()) == {quicker}


MEASURED = """
create or replace function cad._measured_scans(vectors regclass, partition regclass, questions halfvec[])
returns table (kind text, dim int, setting int, one_in int, hits int, wanted int, elapsed_ms double precision)
language sql as $$
    select x.kind, x.dim, m.setting, 1, case when q.n <= m.bad_questions then m.hits else 10 end, 10, m.setting
    from cad._ways(vectors) as x
    cross join (values (20, 40, 5), (40, 2, 2), (80, 4, 9), (140, 0, 0)) as m (setting, bad_questions, hits)
    cross join generate_series(1, 100) as q (n)
    where x.partition = _measured_scans.partition and m.setting <= {}
$$
"""


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(("slowest", "chosen"), [(140, 80), (40, 40), (20, 20)])
def test_what_reaches_the_recall_by_luck_is_taken_only_where_nothing_does_better(
    db: Database, slowest: int, chosen: int
) -> None:
    """At 40 two questions of a hundred find 2 of 10, the others all: 0.984, but a third such question and it is not."""
    db.execute(MEASURED.format(slowest))
    db.execute("call cad.tune('cad', 0.98)")
    assert {setting for (setting,) in tuned(db, "setting")} == {chosen}


FILTERED = """
create or replace function cad._measured_scans(vectors regclass, partition regclass, questions halfvec[])
returns table (kind text, dim int, setting int, one_in int, hits int, wanted int, elapsed_ms double precision)
language sql as $$
    select 'ivfflat', 128, s.setting, f.one_in, case when s.setting >= f.enough then 100 else 90 end, 100, s.setting
    from generate_series(2, {}) as s (setting)
    cross join (values (1, 6), (10, 15), (100, 60)) as f (one_in, enough)
    cross join generate_series(1, 100)
$$
"""


@pytest.mark.parametrize(("most", "chosen"), [(100, (6, 15, 60)), (50, (6, 15, 50)), (4, (2, 2, 2))])
def test_filters_get_as_many_lists_as_they_were_measured_to_need(
    db: Database, rng: np.random.Generator, most: int, chosen: tuple[int, int, int]
) -> None:
    insert(db, [random_part(rng, number) for number in range(60)])
    db.execute(FILTERED.format(most))
    db.execute("call cad.tune('cad', 0.98)")
    assert tuned(db, "setting, setting_tenth, setting_hundredth") == [chosen]


def test_lists_are_looked_into_by_how_many_match(db: Database) -> None:
    def lists(one_in: float | None, *measured: int | None) -> float:
        [(found,)] = db.execute("select cad._deeper(6, %s, %s, %s)", [*measured, one_in]).fetchall()
        return round(float(found), 6)

    assert [lists(one_in, 15, 60) for one_in in (None, 1, 10, 100)] == [6, 6, 15, 60]
    assert [lists(one_in, 15, None) for one_in in (10, 100)] == [15, 30]
    assert [lists(one_in, None, None) for one_in in (10, 100)] == [12, 24]
    assert 6 < lists(3, 15, 60) < 15 < lists(30, 15, 60) < 60 < lists(200, 15, 60)


@pytest.mark.usefixtures("parts")
def test_filters_are_measured_where_many_parts_match_them(db: Database) -> None:
    db.execute("call cad.add_index('cad', 'ivfflat', '{\"lists\": 20}')")
    db.execute("call cad.tune('cad', 0.9)")
    assert set(tuned(db, "recall_tenth, recall_hundredth, setting_tenth")) == {(None, None, None)}
    db.execute("create or replace function cad._parts_of(vectors regclass) returns bigint language sql return 10000")
    db.execute("call cad.tune('cad', 0.9)")
    measured = tuned(db, "kind, setting, recall_tenth, setting_tenth, recall_hundredth")
    assert [row[2:] for row in measured if row[0] == "hnsw"] == [(None, None, None)] * 3
    for _, setting, recall, setting_tenth, recall_hundredth in (row for row in measured if row[0] == "ivfflat"):
        assert 0 < recall <= 1
        assert setting <= setting_tenth <= 20
        assert recall_hundredth is None


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
def test_a_scan_costs_the_more_the_fewer_match_and_the_more_are_wanted(db: Database, kind: str) -> None:
    def cost(most: int, one_in: float | None) -> float:
        asked = [kind, 128, 20, 20, one_in, 300, most, one_in]
        [(parts,)] = db.execute(
            "select cad._scan_cost(%s, %s, %s, cad._deeper(%s, 35, 70, %s), %s, %s, %s)", asked
        ).fetchall()
        return float(parts)

    assert cost(10, None) == 300
    for most in (10, 200):
        costs = [cost(most, one_in) for one_in in (1.5, 10, 100, 1000)]
        assert costs == sorted(set(costs))
    assert all(cost(10, one_in) < cost(200, one_in) for one_in in (2, 100))


@pytest.mark.usefixtures("parts")
def test_a_single_scan_looks_at_as_many_as_it_is_to_bring(db: Database, rng: np.random.Generator) -> None:
    db.execute("call cad.tune('cad', 0.5)")
    db.execute("delete from cad.tuned_scan where not chosen")
    db.execute("update cad.tuned_scan set setting = 20")
    taken = stages(db, unit_vector(rng), options={"strategy": "hnsw"})
    assert "exact" not in taken, "it came back short, and every part was compared"
    assert {scan["ef_search"] for scan in taken["hnsw"][0]["scans"]} == {200}


@pytest.mark.usefixtures("parts")
def test_where_no_index_reaches_the_target_the_one_that_finds_most_is_taken(
    db: Database, rng: np.random.Generator
) -> None:
    db.execute("call cad.add_index('cad', 'bit')")
    db.execute("call cad.tune('cad', 0.99)")
    db.execute("update cad.tuned_scan set cost_parts = 1, p50_ms = case kind when 'bit' then 1 else 2 end")
    for finds_most, other in (("hnsw", "bit"), ("bit", "hnsw")):
        db.execute("update cad.tuned_scan set recall = case kind when %s then 0.9 else 0.6 end", [finds_most])
        assert set(ways(db, rng).values()) == {finds_most}
        db.execute("update cad.tuned_scan set recall = 0.99 where kind = %s", [other])
        assert set(ways(db, rng).values()) == {other}


@pytest.mark.usefixtures("parts")
def test_a_family_with_its_own_partition_is_scanned_as_before(db: Database, rng: np.random.Generator) -> None:
    db.execute("call cad.tune('cad', 0.5)")
    db.execute("update cad.tuned_scan set setting = 33 where chosen and vectors = 'space_cad_default'")
    db.execute("call cad.promote_family('washer')")
    scans = stages(db, unit_vector(rng), options={"strategy": "iterative"})["iterative"][0]["scans"]
    settings = {scan["partition"].removeprefix("space_cad_").split("_")[0]: scan["ef_search"] for scan in scans}
    assert settings["washer"] == settings["default"] == 33


def test_of_parts_alike_one_is_as_good_as_another(db: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    insert(db, [replace(random_part(rng, n), vectors=dict.fromkeys(MODALITIES, probe)) for n in range(60)])
    db.execute("call cad.tune('cad', 1)")
    assert db.execute("select distinct recall from cad.tuned_scan").fetchall() == [(1,)]


@pytest.mark.usefixtures("parts")
def test_what_was_measured_decides_where_comparing_is_cheaper(db: Database, rng: np.random.Generator) -> None:
    db.execute("call cad.tune('cad', 0.9)")
    db.execute("update cad.tuned_scan set cost_parts = case when vectors like '%bolt%' then 1 else 1000000 end")
    assert ways(db, rng) == {"default": "exact", "bolt": "hnsw", "nut": "exact"}


@pytest.mark.usefixtures("parts")
def test_tuning_is_taken_back_version_by_version(db: Database, rng: np.random.Generator) -> None:
    db.execute("call cad.tune('cad', 0.6)")
    first = tuned(db, "vectors, setting")
    db.execute("call cad.tune('cad', 0.9)")
    assert {version for (version,) in tuned(db, "version")} == {2}
    assert db.execute("select cad.undo_tune('cad')").fetchone() == (1,)
    assert tuned(db, "vectors, setting") == first
    assert db.execute("select cad.undo_tune('cad')").fetchone() == (None,)
    assert tuned(db) == []
    assert stages(db, unit_vector(rng), options={"strategy": "hnsw"})["hnsw"][0]["scans"][0]["ef_search"] == 200
    assert db.execute("select cad.undo_tune('cad')").fetchone() == (None,)
    db.execute("call cad.tune('cad', 0.9)")
    assert {version for (version,) in tuned(db, "version")} == {3}
    assert db.execute("select cad.undo_tune('cad')").fetchone() == (None,), "not a version that was taken back before"


@pytest.mark.usefixtures("parts")
def test_vectors_of_another_encoder_are_not_searched_as_these_were(db: Database, rng: np.random.Generator) -> None:
    db.execute("call cad.tune('cad', 0.9)")
    db.execute("update cad.tuned_scan set setting = 777 where chosen")
    options = {"strategy": "hnsw"}
    assert stages(db, unit_vector(rng), options=options)["hnsw"][0]["scans"][0]["ef_search"] == 777
    db.execute("update cad.space set encoder_version = 'known-2'")
    assert stages(db, unit_vector(rng), options=options)["hnsw"][0]["scans"][0]["ef_search"] == 200


@pytest.mark.usefixtures("parts")
def test_a_target_out_of_reach_is_said_and_the_best_is_chosen(db: Database) -> None:
    notices: list[str] = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    db.execute("call cad.tune('cad', 0.9, 0.000001)")
    assert [notice for notice in notices if "the target was not reached: space_cad_bolt" in notice]
    assert len(tuned(db)) == 3


@pytest.mark.usefixtures("parts")
def test_a_cancelled_tuning_changes_nothing(db: Database) -> None:
    db.execute("call cad.tune('cad', 0.9)")
    before = tuned(db)
    db.execute("set statement_timeout = '400ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        db.execute("call cad.tune('cad', 0.99)")
    db.execute("reset statement_timeout")
    assert tuned(db) == before
    assert db.execute("select count(*) from cad.tuning").fetchone() == (1,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nowhere", 0.9, None], psycopg.errors.InvalidParameterValue, "no space nowhere"),
        (["cad", 1.5, None], psycopg.errors.InvalidParameterValue, "not between 0.5 and 1"),
        (["cad", None, None], psycopg.errors.InvalidParameterValue, "target_recall is null"),
        (["cad", 0.9, -1], psycopg.errors.InvalidParameterValue, "p95_ms is -1"),
        (["cad", 0.9, None], psycopg.errors.ObjectNotInPrerequisiteState, "has only 0 vectors"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    db: Database, arguments: list[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        db.execute("call cad.tune(%s, %s::real, %s::real)", arguments)
    assert isinstance(refused.value, psycopg.Error)
    assert refused.value.diag.message_hint
    assert db.execute("select count(*) from cad.tuning").fetchone() == (0,)


def test_index_scans_are_planned_where_the_filter_lets_many_through(
    db: Database, parts: list[Part], rng: np.random.Generator
) -> None:
    db.execute("create or replace function cad._default_scan_cost() returns int language sql return 50")
    matching = sum(part.family == "bolt" for part in parts)
    assert matching > 50  # as many as an index scan costs
    assert ways(db, rng, family="bolt") == {"bolt": "hnsw"}
    assert ways(db, rng, family="bolt", mass_kg={"max": 0.01}) == {}, "exact search"
    options = {"strategy": "prefix"}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.execute(
            "select * from cad.search_cad_vector('cad', %s::vector, options => %s)",
            [str(unit_vector(rng).tolist()), Jsonb(options)],
        )
