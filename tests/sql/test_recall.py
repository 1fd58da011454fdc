"""The log of searches, and the recall measured with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import MODALITIES, Part, insert, random_part, search, unit_vector
from pgvector import Vector

Database = psycopg.Connection[Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(29)


@pytest.fixture
def parts(db: Database, rng: np.random.Generator) -> list[Part]:
    """300 parts in two partitions; every search is logged."""
    made = [random_part(rng, number) for number in range(300)]
    insert(db, made)
    db.execute("call cad.promote_family('bolt')")
    db.execute("set pgcad.log_share = 1")
    return made


def logged(db: Database, columns: str) -> list[tuple[Any, ...]]:
    return db.execute(f"select {columns} from cad.search_log order by search_id").fetchall()


def recall(db: Database) -> dict[str, tuple[int, int]]:
    """Partition to how many of the nearest were wanted and found there."""
    rows = db.execute("select vectors, sum(wanted), sum(found) from cad.recall_check group by vectors")
    return {name.removeprefix("space_cad_").split("_")[0]: (int(w), int(f)) for name, w, f in rows.fetchall()}


@pytest.mark.usefixtures("parts")
def test_a_search_is_logged_as_it_went(db: Database, rng: np.random.Generator) -> None:
    search(db, unit_vector(rng), 7)
    search(db, unit_vector(rng), 5, filters={"mass_kg": {"max": 0.2}}, options={"strategy": "hnsw"})
    search(db, unit_vector(rng), 5, options={"strategy": "iterative"})
    assert logged(db, "space, strategy, k, hits, vector_ms <= elapsed_ms and vector_ms > 0") == [
        ("cad", "exact", 7, 7, True), ("cad", "hnsw", 5, 5, True), ("cad", "iterative", 5, 5, True),
    ]  # fmt: skip
    assert db.execute("select search_id, cardinality(nearest) from cad.search_question").fetchall() == [(3, 20)], (
        "exact search, also of what an index leaves short, needs no check"
    )


@pytest.mark.usefixtures("parts")
def test_the_share_says_how_many_are_logged(db: Database, rng: np.random.Generator) -> None:
    for share, fewest, most in (("0", 0, 0), ("0.5", 5, 35), ("", 0, 8)):
        db.execute("select set_config('pgcad.log_share', %s, false)", [share])
        db.execute("delete from cad.search_log")
        for _ in range(40):
            search(db, unit_vector(rng), 1)
        assert fewest <= len(logged(db, "k")) <= most
    for share in ("a lot", "2", "-1", "NaN", "."):
        db.execute("select set_config('pgcad.log_share', %s, false)", [share])
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="is no share") as refused:
            search(db, unit_vector(rng), 1)
        assert refused.value.diag.message_hint


@pytest.mark.usefixtures("parts")
def test_a_search_that_contradicts_itself_finds_nothing(db: Database, rng: np.random.Generator) -> None:
    assert search(db, unit_vector(rng), 5, family="bolt", filters={"family": "nut"}) == []
    assert logged(db, "strategy, hits") == [("exact", 0)]


@pytest.mark.usefixtures("parts")
def test_a_transaction_that_only_reads_is_searched_and_not_logged(db: Database, rng: np.random.Generator) -> None:
    with db.transaction():
        db.execute("set transaction read only")
        assert len(search(db, unit_vector(rng), 5)) == 5
    assert logged(db, "k") == []


@pytest.mark.usefixtures("parts")
def test_recall_is_what_was_found_of_the_truth(db: Database, rng: np.random.Generator) -> None:
    for _ in range(20):
        search(db, unit_vector(rng), 10, options={"strategy": "iterative"})
    assert db.execute("select cad.check_recall(15)").fetchone() == (15,)
    assert db.execute("select cad.check_recall()").fetchone() == (5,)
    assert db.execute("select cad.check_recall()").fetchone() == (0,), "each is compared once"
    seen = recall(db)
    assert sum(wanted for wanted, _ in seen.values()) == 200
    assert all(0.8 * wanted <= found <= wanted for wanted, found in seen.values())
    rows = db.execute(
        "select space, partition, strategy, searches, recall, recall_low, recall_high from cad.recall_hourly"
    ).fetchall()
    assert {strategy for _, _, strategy, *_ in rows} == {"hnsw"}
    for space, partition, _, searches, share, low, high in rows:
        wanted, found = seen[partition.removeprefix("space_cad_").split("_")[0]]
        assert (space, share) == ("cad", pytest.approx(found / wanted))
        assert 0 < searches <= 20
        assert 0 < low <= share <= high <= 1


@pytest.mark.usefixtures("parts")
def test_what_was_missed_is_seen(db: Database, rng: np.random.Generator) -> None:
    for _ in range(10):
        search(db, unit_vector(rng), 10, options={"strategy": "iterative"})
    db.execute("update cad.search_question set nearest = nearest[6:]")  # as an index would that loses the first five
    db.execute("select cad.check_recall()")
    assert {partition: f <= 0.8 * w for partition, (w, f) in recall(db).items()} == {"bolt": True, "default": True}
    [(worst,)] = db.execute("select min(recall) from cad.recall_hourly").fetchall()
    assert worst < 0.8


def test_of_parts_alike_one_is_as_good_as_another(db: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    twins = [replace(random_part(rng, n), vectors=dict.fromkeys(MODALITIES, probe)) for n in range(40)]
    insert(db, [*twins, *(random_part(rng, number) for number in range(40, 80))])
    db.execute("call cad.promote_family('bolt')")
    db.execute("set pgcad.log_share = 1")
    search(db, probe, 10, options={"strategy": "iterative"})
    others = "select array_agg(model_id order by model_id {}) from cad.space_cad where fused_vec = %s::vector::halfvec"
    for order in ("asc", "desc"):  # those that exact search takes, or others
        db.execute(f"update cad.search_question set nearest = ({others.format(order)})", [Vector(probe).to_text()])
        db.execute("update cad.search_question set checked_at = null")
        db.execute("delete from cad.recall_check")
        db.execute("select cad.check_recall()")
        assert sum(wanted for wanted, _ in recall(db).values()) == 10
        assert all(wanted == found for wanted, found in recall(db).values())
    db.execute("update cad.search_question set nearest = nearest[1:3], checked_at = null")
    db.execute("delete from cad.recall_check")
    db.execute("select cad.check_recall()")
    assert sum(found for _, found in recall(db).values()) == 3


@pytest.mark.parametrize(
    ("found", "wanted", "interval"),
    [  # published: Wilson's interval of 90 of 100 is 0.826 to 0.945, of 900 of 1,000 it is 0.880 to 0.917
        ([1] * 90 + [0] * 10, [1] * 100, (0.826, 0.945)),
        ([10] * 90 + [0] * 10, [10] * 100, (0.826, 0.945)),
        ([9] * 100, [10] * 100, (0.880, 0.917)),
        ([10] * 100, [10] * 100, (0.996, 1)),
        ([0], [1], (0, 0.793)),
        ([], [], (None, None)),
        ([0, 0], [0, 0], (None, None)),
    ],
)
def test_questions_that_find_all_or_nothing_tell_less(
    db: Database, found: list[int], wanted: list[int], interval: tuple[float, float]
) -> None:
    [(share, *ends)] = db.execute("select * from cad._recall(%s::int[], %s::int[])", [found, wanted]).fetchall()
    assert ends == [end if end is None else pytest.approx(end, abs=0.002) for end in interval]
    assert share == (sum(found) / sum(wanted) if sum(wanted) else None)


@pytest.mark.usefixtures("parts")
def test_a_search_goes_on_where_its_snapshot_cannot_be_logged(db: Database, dsn: str, rng: np.random.Generator) -> None:
    with psycopg.connect(dsn) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.execute("set pgcad.log_share = 1")
        session.execute("select from cad.space")
        for vectors in ("cad.space_cad_view", "cad.space_cad"):  # another row than the session sees
            db.execute("update cad.space set vectors = %s", [vectors])
        assert len(search(session, unit_vector(rng), 5)) == 5
        assert len(search(session, unit_vector(rng), 5)) == 5, "nor is the transaction broken"
    assert logged(db, "k") == []


def test_truth_is_of_the_parts_that_were_there_and_still_are(
    db: Database, parts: list[Part], rng: np.random.Generator
) -> None:
    probe = unit_vector(rng)
    first = [
        number
        for number, _ in search(
            db, probe, 20, options={"strategy": "iterative", "weights": {"fused": 1, "text": 0, "image": 0, "shape": 0}}
        )
    ]
    db.execute("delete from cad.model where part_number = %s", [first[0]])
    db.execute("update cad.model set created_at = now() + interval '1 hour' where part_number = %s", [first[1]])
    db.execute("select cad.check_recall()")
    assert sum(wanted for wanted, _ in recall(db).values()) == 10
    assert sum(found for _, found in recall(db).values()) >= 9
    assert len(parts) == 300


@pytest.mark.usefixtures("parts")
def test_recall_is_of_what_was_wanted_and_is_there(db: Database, rng: np.random.Generator) -> None:
    """Nothing is fetched for the log alone, which would make logged searches better than the others."""
    probe = unit_vector(rng)
    first, *_ = search(db, probe, 4, options={"strategy": "iterative", "against": "fused"})
    assert db.execute("select cardinality(nearest) from cad.search_question").fetchone() == (4,)
    db.execute("delete from cad.model where part_number = %s", [first[0]])
    db.execute("select cad.check_recall()")
    assert sum(wanted for wanted, _ in recall(db).values()) == 3
    assert sum(found for _, found in recall(db).values()) == 3


def test_filters_hold_for_the_truth_too(db: Database, parts: list[Part], rng: np.random.Generator) -> None:
    few = sorted(part.mass_kg for part in parts if part.mass_kg is not None)[5]
    options = {"strategy": "iterative"}
    farthest_others = """
        select array(
            select m.model_id
            from cad.model as m
            inner join cad.space_cad as s using (model_id, family)
            where {}
            order by s.fused_vec <=> q.question desc
            limit 3
        )
    """
    for filters, others in (({"mass_kg": {"max": few}}, "m.mass_kg > %s"), ({"family": "bolt"}, "m.family <> %s")):
        db.execute("delete from cad.search_log")
        search(db, unit_vector(rng), 10, filters=filters, options=options)
        db.execute(
            f"update cad.search_question as q set nearest = ({farthest_others.format(others)})",
            ["bolt" if "family" in filters else few],
        )
        db.execute("select cad.check_recall()")
        seen = recall(db)
        assert set(seen) <= ({"bolt"} if "family" in filters else {"bolt", "default"})
        assert all(found == 0 for _, found in seen.values())


@pytest.mark.usefixtures("parts")
def test_questions_to_other_vectors_are_not_compared(db: Database, rng: np.random.Generator) -> None:
    search(db, unit_vector(rng), 10, options={"strategy": "iterative"})
    db.execute("update cad.space set encoder_version = 'known-2'")
    assert db.execute("select cad.check_recall()").fetchone() == (0,)
    assert recall(db) == {}
    assert db.execute("select count(*) from cad.search_question where checked_at is null").fetchone() == (0,)


@pytest.mark.usefixtures("parts")
def test_what_is_old_is_dropped(db: Database, rng: np.random.Generator) -> None:
    for days in (40, 1):
        search(db, unit_vector(rng), 10, options={"strategy": "iterative"})
        db.execute(
            "update cad.search_log set asked_at = now() - make_interval(days => %s)"
            " where search_id = (select max(search_id) from cad.search_log)",
            [days],
        )
    db.execute("select cad.check_recall(10, '1 month')")
    assert len(logged(db, "k")) == 1
    assert db.execute("select count(*) from cad.search_question").fetchone() == (1,)


@pytest.mark.usefixtures("parts")
def test_questions_are_not_kept_where_policies_hide_parts(db: Database, rng: np.random.Generator) -> None:
    """Nor may anybody but administrators read what others asked."""
    db.execute("create role engineer")
    try:
        db.execute("select cad.grant_to('engineer', 'reader')")
        db.execute("alter table cad.model enable row level security")
        db.execute("create policy not_nuts on cad.model to engineer using (family <> 'nut')")
        db.execute("set role engineer")
        search(db, unit_vector(rng), 10, options={"strategy": "iterative"})
        assert len(logged(db, "k")) == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("select from cad.search_question")
        assert len(db.execute("select searches from cad.search_log_hourly").fetchall()) == 1
        assert db.execute("select * from cad.recall_hourly").fetchall() == []
    finally:
        db.execute("reset role")
        kept = db.execute("select count(*) from cad.search_question").fetchone()
        db.execute("drop owned by engineer")
        db.execute("drop role engineer")
    assert kept == (0,)


@pytest.mark.usefixtures("parts")
def test_tuning_asks_what_was_asked(db: Database, rng: np.random.Generator) -> None:
    db.execute("call cad.tune('cad', 0.6)")
    for _ in range(100):
        search(db, unit_vector(rng), 1, options={"strategy": "iterative"})
    db.execute("call cad.tune('cad', 0.6)")
    rows = db.execute("select question_source, questions >= 100 from cad.tuning order by version").fetchall()
    assert [source for source, _ in rows] == ["parts", "log"]
    assert rows[1][1]


@pytest.mark.usefixtures("parts")
def test_tuning_asks_the_more_the_more_it_tells_for_the_time(db: Database, rng: np.random.Generator) -> None:
    for _ in range(120):
        search(db, unit_vector(rng), 1, options={"strategy": "iterative"})
    asked = {}
    for parts in (400, 100_000, 100_000_000):
        db.execute(
            "create or replace function cad._partitions(vectors regclass) returns table (partition regclass,"
            " families text[], parts bigint) language sql as "
            f"$$ select 'cad.space_cad_default'::regclass, array[]::text[], {parts}::bigint $$"
        )
        [(asked[parts], source)] = db.execute("select cardinality(questions), source from cad._tuning_questions('cad')")
        assert source == "log"
    assert asked == {400: 100, 100_000: 120, 100_000_000: 100}


@pytest.mark.parametrize("most", ["null", "-1"])
def test_a_number_that_means_nothing_is_refused(db: Database, most: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="most is"):
        db.execute(f"select cad.check_recall({most})")
