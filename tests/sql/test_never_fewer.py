"""Never fewer hits than k, nor than match: ten thousand parts, and filters that let one of them through, or all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import search, unit_vector

Database = psycopg.Connection[Any]

PARTS = 10_000
STRATEGIES = ("auto", "auto", "iterative", "hnsw", "exact")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(47)


@pytest.fixture
def parts(db: Database) -> None:
    """Parts of random vectors, whose masses say how many are lighter; a family of 1,000 has its own partition."""
    db.execute("select cad.drop_index('cad', 'hnsw')")
    db.execute(
        "insert into cad.model (part_number, name, kind, format, family, mass_kg, sha256)"
        " select n::text, 'x', 'part', 'step',"
        " case when mod(n, 10) = 0 then 'bolt' when mod(n, 100) = 1 then 'rare' else 'nut' end,"
        " n / %s::float8, sha256(int4send(n)) from generate_series(1, %s) as n",
        [PARTS, PARTS],
    )
    db.execute(
        "insert into cad.space_cad (model_id, family, fused_vec, encoder_version)"
        " select m.model_id, m.family, array_agg(random() - 0.5)::vector(512)::halfvec(512), 'known-1'"
        " from cad.model as m cross join generate_series(1, 512) group by m.model_id"
    )
    db.execute("update cad.space set encoder_version = 'known-1'")
    db.execute("call cad.promote_family('bolt')")
    db.execute("set maintenance_work_mem = '512MB'")
    db.execute("call cad.add_index('cad', 'hnsw', '{\"m\": 4, \"ef_construction\": 16}')")
    db.execute("analyze cad.model")
    db.execute("analyze cad.space_cad")


def random_filters(rng: np.random.Generator) -> dict[str, Any]:
    """Of the masses a share from one part in ten thousand to all of them, sometimes of one family or two."""
    share = 10 ** rng.uniform(-4, 0)
    least = rng.uniform(0, 1 - share)
    filters: dict[str, Any] = {"mass_kg": {"min": least, "max": least + share}}
    family = rng.choice(["", "", "bolt", "rare", "nut bolt"])
    return filters | ({"family": str(family).split()} if family else {})


def matching(db: Database, filters: dict[str, Any]) -> set[str]:
    rows = db.execute(
        "select part_number from cad.model where mass_kg between %s and %s and family = any(%s)",
        [filters["mass_kg"]["min"], filters["mass_kg"]["max"], filters.get("family", ["bolt", "rare", "nut"])],
    )
    return {number for (number,) in rows.fetchall()}


def assert_never_fewer(db: Database, rng: np.random.Generator, rounds: int = 40) -> None:
    shortest = PARTS
    for number in range(rounds):
        filters, k = random_filters(rng), int(rng.choice([1, 10, 100]))
        options = {"strategy": STRATEGIES[number % len(STRATEGIES)], "against": "fused"}
        right = matching(db, filters)
        found = [part for part, _ in search(db, unit_vector(rng), k, filters=filters, options=options)]
        assert len(found) == len(set(found)) == min(k, len(right)), (filters, k, options)
        assert set(found) <= right, (filters, k, options)
        shortest = min(shortest, len(right))
    assert shortest < 10, "the narrowest filter was none"


@pytest.fixture
def engineer(db: Database) -> Iterator[str]:
    """A role that may search and sees no rare parts, and no others above half a kilogram but bolts."""
    db.execute("create role engineer")
    try:
        db.execute("select cad.grant_to('engineer', 'reader')")
        db.execute("alter table cad.model enable row level security")
        db.execute(
            "create policy theirs on cad.model to engineer"
            " using (family <> 'rare' and (mass_kg < 0.5 or family = 'bolt'))"
        )
        yield "engineer"
    finally:
        db.execute("reset role")
        db.execute("drop owned by engineer")
        db.execute("drop role engineer")


@pytest.mark.usefixtures("parts")
def test_never_fewer(db: Database, rng: np.random.Generator, engineer: str) -> None:
    assert_never_fewer(db, rng)
    db.execute("delete from cad.model where part_number::int % 3 = 0")
    assert_never_fewer(db, rng)
    db.execute("update cad.model set family = 'bolt' where part_number::int % 7 = 0")  # from partition to partition
    db.execute("update cad.model set mass_kg = 1 - mass_kg where part_number::int % 5 = 0")
    db.execute(
        "update cad.space_cad as s set fused_vec = other.fused_vec from cad.space_cad as other, cad.model as m"
        " where m.model_id = s.model_id and m.part_number::int between 1 and 300 and other.model_id ="
        " (select o.model_id from cad.model as o where o.part_number = (m.part_number::int + 5000)::text)"
    )
    assert_never_fewer(db, rng)
    db.execute(f"set role {engineer}")
    assert_never_fewer(db, rng)


@pytest.mark.usefixtures("parts")
def test_searches_go_on_while_an_index_is_built(db: Database, dsn: str, rng: np.random.Generator) -> None:
    """The one that is built is none yet for whoever searches, and the old one is there until the new one stands."""
    failures: list[Exception] = []

    def build() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as builder:
                builder.execute("set maintenance_work_mem = '512MB'")
                for parameters in ('{"m": 8, "ef_construction": 32}', '{"m": 6, "ef_construction": 24}'):
                    builder.execute("call cad.add_index('cad', 'hnsw', %s, least_recall => 0)", [parameters])
        except psycopg.Error as error:
            failures.append(error)

    building = threading.Thread(target=build)
    building.start()
    searches = 0
    while building.is_alive():
        for options in ({"against": "fused"}, {"against": "fused", "strategy": "iterative"}):
            assert len(search(db, unit_vector(rng), 10, options=options)) == 10
            searches += building.is_alive()
    building.join()
    assert failures == []
    assert searches > 10
    [(kinds,)] = db.execute(
        "select array_agg(distinct parameters) from cad.index_health where kind = 'hnsw'"
    ).fetchall()
    assert kinds == [["m=6", "ef_construction=24"]]
