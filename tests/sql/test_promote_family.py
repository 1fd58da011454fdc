"""A family gets its own partition while others search and write: no search fails or is short, no write is lost."""

from __future__ import annotations

import threading
from itertools import count
from typing import Any

import numpy as np
import psycopg
import pytest
from busy_sessions import busy_sessions
from known_parts import VERSION, Part, insert, random_part, search
from pgvector import HalfVector
from service_doubles.process import eventually

Database = psycopg.Connection[Any]


@pytest.fixture
def parts(db: Database) -> list[Part]:
    """300 parts of four families."""
    rng = np.random.default_rng(47)
    made = [random_part(rng, number) for number in range(300)]
    insert(db, made)
    db.execute("analyze cad.model")
    return made


def family_of(parts: list[Part], family: str) -> list[str]:
    return sorted(part.number for part in parts if part.family == family)


def found(db: Database, part: Part, k: int, family: str | None = None, **options: Any) -> list[str]:
    vector = part.vectors["fused"]
    assert vector is not None
    return [number for number, _ in search(db, vector, k, family, options={"against": "fused", **options})]


def test_searches_and_writers_go_on(db: Database, dsn: str, parts: list[Part]) -> None:
    came: list[str] = []
    numbers = count()
    bolts, vector = family_of(parts, "bolt"), HalfVector(parts[1].vectors["fused"]).to_text()

    def read(own: Database) -> None:
        for strategy in ("auto", "exact", "iterative", "hnsw"):
            everything = found(own, parts[0], 100, strategy=strategy)
            assert len(everything) == len(set(everything)) == 100 and everything[0] == parts[0].number
            family = found(own, parts[0], 20, "bolt", strategy=strategy)
            assert len(family) == len(set(family)) == 20
            assert all(number in bolts or number.startswith("W-") for number in family)

    def write(own: Database) -> None:
        number = f"W-{next(numbers)}"
        with own.transaction():  # which reads before it writes
            found(own, parts[2], 5)
            own.execute(
                "with part as (insert into cad.model (part_number, name, family, kind, format, sha256)"
                " values (%s, 'late', 'bolt', 'part', 'step', sha256(%s)) returning model_id, family)"
                " insert into cad.space_cad (model_id, family, fused_vec, encoder_version)"
                " select model_id, family, %s, %s from part",
                [number, number.encode(), vector, VERSION],
            )
        came.append(number)

    with busy_sessions(dsn, [read, read, write, write]) as failures:
        eventually(lambda: len(came) > 3 or bool(failures))
        for family in ("bolt", "nut", "washer"):
            db.execute("call cad.promote_family(%s)", [family])
        eventually(lambda: len(came) > 20 or bool(failures))
    assert failures == []
    there = db.execute(
        "select m.part_number from cad.space_cad as s join cad.model as m using (model_id)"
        " where s.tableoid = format('cad.%I', cad._partition_name('cad', 'bolt'))::regclass"
    ).fetchall()
    assert sorted(number for (number,) in there) == sorted([*bolts, *came])
    assert db.execute("select count(*) from cad.space_cad").fetchone() == (300 + len(came),)


@pytest.mark.parametrize("strategy", ["exact", "iterative", "hnsw"])
def test_a_snapshot_from_before_sees_each_part_once(db: Database, dsn: str, parts: list[Part], strategy: str) -> None:
    """Taken at any moment of the promotion, here while the partition is being indexed."""
    vector, bolt = parts[0].vectors["fused"], next(part for part in parts if part.family == "bolt")
    assert vector is not None
    options = {"against": "fused", "strategy": strategy}
    scores = search(db, vector, 300, options=options)
    matrix = "select * from cad.similarity_matrix(array(select model_id from cad.model limit 9)) order by 1, 2"
    likeness = db.execute(matrix).fetchall()
    with psycopg.connect(dsn) as before, psycopg.connect(dsn) as meanwhile:
        for session in (before, meanwhile):
            session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            session.execute("set pgcad.cache = off")
            session.commit()
        before.execute("select")
        with psycopg.connect(dsn, autocommit=True) as holder:
            holder.execute("begin")
            holder.execute("update cad.space_cad set text_md5 = null where family = 'nut'")  # keeps the attaching away
            promotion = threading.Thread(target=lambda: db.execute("call cad.promote_family('bolt')"))
            promotion.start()
            waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and query like 'call cad.promote%%'"
            with psycopg.connect(dsn, autocommit=True) as watcher:
                eventually(lambda: watcher.execute(waiting).fetchone() is not None)
            meanwhile.execute("select")
            holder.execute("rollback")
        promotion.join()
        assert db.execute("select cad._is_promoted('cad', 'bolt')").fetchone() == (True,)
        bolts = family_of(parts, "bolt")
        for session in (before, meanwhile, db):
            everything = found(session, parts[0], 300, strategy=strategy)
            assert len(everything) == len(set(everything)) == 300
            assert search(session, vector, 300, options=options) == scores
            assert search(session, bolt.vectors["fused"], 1, options=options)[0][0] == bolt.number
            assert session.execute(matrix).fetchall() == likeness
            assert sorted(found(session, parts[0], 300, "bolt", strategy=strategy)) == bolts


def test_what_comes_goes_and_changes_meanwhile_is_right_at_the_end(db: Database, dsn: str, parts: list[Part]) -> None:
    first, second, third = [part for part in parts if part.family == "bolt"][:3]
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("begin")
        other.execute("delete from cad.model where part_number = %s", [first.number])
        other.execute("update cad.model set family = 'nut' where part_number = %s", [second.number])
        other.execute(
            "update cad.space_cad set text_vec = null where model_id ="
            " (select model_id from cad.model where part_number = %s)",
            [third.number],
        )
        promotion = threading.Thread(target=lambda: db.execute("call cad.promote_family('bolt')"))
        promotion.start()
        waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and query like 'call cad.promote%%'"
        with psycopg.connect(dsn, autocommit=True) as watcher:
            eventually(lambda: watcher.execute(waiting).fetchone() is not None)
        other.execute("commit")
    promotion.join()
    rows = db.execute(
        "select m.part_number, s.tableoid = 'cad.space_cad_default'::regclass, s.text_vec is null"
        " from cad.space_cad as s join cad.model as m using (model_id) where m.part_number = any(%s) order by 2",
        [[first.number, second.number, third.number]],
    ).fetchall()
    assert [row[:2] for row in rows] == [(third.number, False), (second.number, True)]
    assert rows[0][2]
