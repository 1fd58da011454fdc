"""Kept results of searches: the same as a search would give, always."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, search, unit_vector
from service_doubles.scripted import ScriptedService

Database = psycopg.Connection[Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(31)


@pytest.fixture
def parts(db: Database, rng: np.random.Generator) -> list[Part]:
    made = [random_part(rng, number) for number in range(60)]
    insert(db, made)
    return made


@pytest.fixture
def other(dsn: str) -> Iterator[Database]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def poison(db: Database) -> None:
    """Make every kept result recognisable."""
    db.execute(
        "update cad.cached_result set hits = array(select row(h.rank, h.model_id, 'kept', h.name, h.family, h.score,"
        " h.text_score, h.image_score, h.shape_score, h.lexical_score)::cad.hit from unnest(hits) as h)"
    )


def is_kept(db: Database, probe: np.ndarray[Any, Any], k: int = 5, **arguments: Any) -> bool:
    """Whether a search that was made before is answered from the cache."""
    poison(db)
    return {number for number, _ in search(db, probe, k, **arguments)} == {"kept"}


@pytest.mark.usefixtures("parts")
def test_the_same_question_is_answered_from_the_cache(db: Database, other: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    first = search(db, probe, 5)
    assert search(db, probe, 5) == first
    assert is_kept(db, probe)
    assert is_kept(other, probe), "by every session"
    assert not is_kept(db, probe, 6)
    assert not is_kept(db, probe, family="bolt")
    assert not is_kept(db, probe, filters={"mass_kg": {"max": 0.7}})
    assert not is_kept(db, probe, options={"weights": {"image": 0}})
    assert not is_kept(db, unit_vector(rng))
    assert is_kept(db, probe, filters={}, options={})


@pytest.mark.usefixtures("parts")
def test_no_hits_are_kept_too(db: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    assert search(db, probe, 5, family="rivet") == []
    [(hits,)] = db.execute("select cardinality(hits) from cad.cached_result").fetchall()
    assert hits == 0
    assert search(db, probe, 5, family="rivet") == []
    assert db.execute("select count(*) from cad.cached_result").fetchone() == (1,)


CHANGES = {
    "a part changes": "update cad.model set family = 'rivet' where part_number like 'BO%'",
    "a part goes": "delete from cad.model where part_number like 'NU%'",
    "its points change": "insert into cad.artifact (model_id, role, media_type, content)"
    " select model_id, 'points', 'x', '' from cad.model limit 1",
    "vectors change": "update cad.space_cad set fused_vec = text_vec",
    "vectors of one partition change": "update cad.space_cad_default set fused_vec = text_vec",
    "vectors of a promoted family change": "update cad.space_cad set fused_vec = text_vec where family = 'washer'",
    "vectors go at once": "truncate cad.space_cad",
    "vectors of views change": "insert into cad.space_cad_view (model_id, view, vec)"
    " select model_id, 0, fused_vec from cad.space_cad where fused_vec is not null limit 1",
    "the encoder changes": "update cad.space set encoder_version = 'known-2' where name = 'cad'",
    "weights change": "update cad.fusion_weight set image = 0.1 where query_kind = 'text'",
    "words change": "insert into cad.glossary (english, chinese) values ('grease nipple', '黄油嘴')",
}


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_kept_beyond_a_change(db: Database, other: Database, rng: np.random.Generator, change: str) -> None:
    db.execute("call cad.promote_family('washer')")
    probe = unit_vector(rng)
    search(db, probe, 5)
    assert is_kept(db, probe)
    other.execute(CHANGES[change])
    assert not is_kept(db, probe)
    assert not is_kept(other, unit_vector(rng))
    assert is_kept(db, probe), "kept anew"


@pytest.mark.usefixtures("parts")
def test_who_changes_sees_it_before_the_others(db: Database, other: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    before = search(db, probe, 60)
    with other.transaction():
        other.execute("delete from cad.model where part_number = %s", [before[0][0]])
        assert search(other, probe, 60) == before[1:]
        assert search(other, probe, 60) == before[1:]
        assert search(db, probe, 60) == before, "not yet committed"
    assert search(db, probe, 60) == before[1:]
    with other.transaction(force_rollback=True):
        other.execute("delete from cad.model where part_number = %s", [before[1][0]])
        assert search(other, probe, 60) == before[2:]
    assert search(db, probe, 60) == search(other, probe, 60) == before[1:], "taken back"


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("tidied", [False, True])
def test_a_result_of_an_old_snapshot_is_not_taken_for_one_of_today(
    db: Database, other: Database, rng: np.random.Generator, tidied: bool
) -> None:
    """What an old transaction sees is right for it alone, and is not to be kept for others."""
    probe = unit_vector(rng)
    with other.transaction():
        other.execute("set transaction isolation level repeatable read")
        [(gone,)] = other.execute("select part_number from cad.model order by 1 limit 1").fetchall()
        db.execute("delete from cad.model where part_number = %s", [gone])
        if tidied:
            db.execute("delete from cad.cached_result")
            db.execute("select cad._tidy_cache()")
            assert db.execute("select count(*) from cad.change").fetchone() == (0,)
        assert gone in {number for number, _ in search(other, probe, 60)}
    assert gone not in {number for number, _ in search(db, probe, 60)}
    assert is_kept(db, probe, 60)


@pytest.mark.usefixtures("parts")
def test_no_search_waits_for_another(db: Database, other: Database, rng: np.random.Generator) -> None:
    """Whoever keeps the same result in a transaction that goes on, and whoever tidies up, leave the others alone."""
    probe, second = unit_vector(rng), unit_vector(rng)
    search(db, probe, 5)
    db.execute("delete from cad.model where part_number like 'BO%'")
    db.execute("set statement_timeout = '5s'")
    with other.transaction():
        kept = search(other, probe, 5), search(other, second, 5)
        assert (search(db, probe, 5), search(db, second, 5)) == kept
        db.execute("select cad._tidy_cache()")
    assert is_kept(db, second)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_what_others_keep_fails_no_isolated_search(
    db: Database, other: Database, rng: np.random.Generator, level: str
) -> None:
    probe = unit_vector(rng)
    search(db, probe, 5)
    with other.transaction():
        other.execute(f"set transaction isolation level {level}")
        other.execute("select count(*) from cad.model")
        db.execute("update cad.model set material = 'brass'")
        kept = search(db, probe, 5)  # over the result that the other transaction sees
        other.execute("update cad.fusion_weight set image = image")  # so that it does not take that one either
        assert search(other, probe, 5) == kept


@pytest.mark.usefixtures("parts")
def test_the_cache_is_bounded_and_forgets_what_no_longer_holds(db: Database, rng: np.random.Generator) -> None:
    kept = "select count(*) from cad.cached_result"
    db.execute("set pgcad.cache_entries = 7")
    probes = [unit_vector(rng) for _ in range(12)]
    for probe in probes:
        search(db, probe, 5)
    db.execute("select cad._tidy_cache()")
    assert db.execute(kept).fetchone() == (7,)
    assert is_kept(db, probes[-1])
    assert not is_kept(db, probes[0])
    db.execute("delete from cad.model where part_number like 'BO%'")
    search(db, probes[3], 5)
    db.execute("select cad._tidy_cache()")
    assert db.execute(kept).fetchone() == (1,)
    assert is_kept(db, probes[3])
    assert db.execute("select count(*) from cad.change").fetchone() == (0,)


@pytest.mark.parametrize("entries", ["0", "many", "-3", "99999999999"])
@pytest.mark.usefixtures("parts")
def test_a_bound_that_is_none_is_said_to_be(db: Database, rng: np.random.Generator, entries: str) -> None:
    warnings: list[str] = []
    db.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    db.execute("select set_config('pgcad.cache_entries', %s, false)", [entries])
    probe = unit_vector(rng)
    search(db, probe, 5)
    db.execute("select cad._tidy_cache()")
    assert warnings and set(warnings) == {
        f"pgcad.cache_entries is '{entries}', which is no number of results: 10000 are kept"
    }
    assert is_kept(db, probe)


@pytest.mark.usefixtures("parts")
def test_nobody_bounds_what_is_kept_for_others(db: Database, rng: np.random.Generator) -> None:
    for _ in range(3):
        search(db, unit_vector(rng), 5)
    db.execute("create role engineer")
    try:
        db.execute("select cad.grant_to('engineer', 'reader')")
        db.execute("set session authorization engineer")
        db.execute("set pgcad.cache_entries = 1")
        db.execute("select cad._tidy_cache()")
    finally:
        db.execute("reset session authorization")
        db.execute("drop owned by engineer")
        db.execute("drop role engineer")
    assert db.execute("select count(*) from cad.cached_result").fetchone() == (3,)


@pytest.mark.usefixtures("parts")
def test_health_counts(db: Database, other: Database, rng: np.random.Generator) -> None:
    probe = unit_vector(rng)
    for _ in range(5):
        search(db, probe, 5)
    db.execute("delete from cad.model where part_number like 'BO%'")
    search(db, probe, 5)
    db.execute("select pg_stat_force_next_flush()")
    health = other.execute("select entries, size_bytes > 0, lookups, found, stored from cad.cache_health").fetchone()
    assert health == (1, True, 6, 5, 2)


@pytest.mark.usefixtures("parts")
def test_it_can_be_turned_off_and_is_left_out_where_nothing_may_be_written(
    db: Database, rng: np.random.Generator
) -> None:
    db.execute("set pgcad.cache = off")
    search(db, unit_vector(rng), 5)
    db.execute("reset pgcad.cache")
    with db.transaction():
        db.execute("set transaction read only")
        search(db, unit_vector(rng), 5)
    search(db, unit_vector(rng), 5, filters={"created_at": {"to": "tomorrow"}})
    assert db.execute("select count(*) from cad.cached_result").fetchone() == (0,)


@pytest.fixture
def as_engineer(db: Database) -> Iterator[Callable[[Database], None]]:
    db.execute("create role engineer")
    db.execute("select cad.grant_to('engineer', 'reader')")
    yield lambda connection: connection.execute("set role engineer") and None
    db.execute("reset role")
    db.execute("drop owned by engineer")
    db.execute("drop role engineer")


@pytest.mark.usefixtures("parts")
def test_nobody_is_answered_with_what_another_may_see(
    db: Database, other: Database, rng: np.random.Generator, as_engineer: Callable[[Database], None]
) -> None:
    probe = unit_vector(rng)
    search(db, probe, 5)
    as_engineer(other)
    assert other.execute("select count(*) from cad.cached_result").fetchone() == (0,)
    poison(db)
    assert "kept" not in {number for number, _ in search(other, probe, 5)}
    assert other.execute("select count(*) from cad.cached_result").fetchone() == (1,), "their own"
    poison(db)
    assert {number for number, _ in search(other, probe, 5)} == {"kept"}
    db.execute("alter table cad.model enable row level security")
    db.execute("create policy nuts on cad.model to engineer using (family = 'nut')")
    found = [number for number, _ in search(other, probe, 5)]
    assert found
    assert all(number.startswith("NU") for number in found)
    db.execute("revoke select on cad.model from engineer")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        search(other, probe, 5)
    other.close()


def test_an_answer_without_the_encoder_is_not_kept(
    db: Database, scripted: ScriptedService, load_numbered: Callable[[int], None]
) -> None:
    load_numbered(2)
    scripted.close()
    assert len(db.execute("select * from cad.search_cad('thing')").fetchall()) == 2
    assert db.execute("select count(*) from cad.cached_result").fetchone() == (0,)


def test_a_restarted_service_with_other_weights_is_refused_for_new_questions_alone(
    db: Database, scripted: ScriptedService
) -> None:
    """What was found with the vectors that are stored is right as long as they are."""
    db.execute("insert into cad.ingest (source_uri, format, content) values ('a', 'step', 'bolt')")
    db.execute("call cad.ingest_pending()")
    kept = db.execute("select * from cad.search_cad('bolt')").fetchall()
    scripted.version = "scripted-2"
    assert db.execute("select * from cad.search_cad('bolt')").fetchall() == kept
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.execute("select * from cad.search_cad('nut')")
    db.execute("call cad.reembed('cad')")
    db.execute("select cad.drop_previous('cad')")
    poison(db)
    assert db.execute("select part_number from cad.search_cad('bolt')").fetchall() != [("kept",)]
