"""Vectors that are resident in the encoder service: found as exact search finds them, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from known_parts import Part, insert, random_part, search, stages, unit_vector
from pgcad_load.cluster import LocalCluster
from pgvector import Vector
from service_doubles.process import ServiceProcess

Database = psycopg.Connection[Any]

EXACT, RESIDENT = {"strategy": "exact"}, {"strategy": "resident"}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(31)


class Service:
    """The real service around the tiny space, for one database; it may be restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = ServiceProcess(folder)

    def restart(self, *options: str) -> None:
        self.process.stop()
        self.process = ServiceProcess(self.folder, *options)

    def held(self) -> list[dict[str, Any]]:
        spaces: list[dict[str, Any]] = self.process.health()["resident"]["spaces"]
        return spaces


@pytest.fixture
def resident_service(cluster: LocalCluster, db: Database) -> Iterator[Service]:
    folder = cluster.socket_dir / db.info.dbname
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    service = Service(folder)
    (folder / "s").chmod(0o777)
    db.execute(f"alter database {db.info.dbname} set pgcad.socket = '{folder / 's'}'")
    db.execute(f"set pgcad.socket = '{folder / 's'}'")
    yield service
    service.process.stop()


@pytest.fixture
def parts(db: Database, rng: np.random.Generator, resident_service: Service) -> list[Part]:
    """300 parts, one in ten without vectors, all of them resident."""
    made = [random_part(rng, number) for number in range(300)]
    insert(db, made)
    db.execute("analyze cad.model")
    db.execute("call cad.load_resident('cad')")
    return made


def agree(db: Database, rng: np.random.Generator, k: int = 10, **given: Any) -> None:
    probe = unit_vector(rng)
    for options in ({"against": "fused"}, {}):
        assert search(db, probe, k, options=options | RESIDENT, **given) == search(
            db, probe, k, options=options | EXACT, **given
        )


def test_it_works(db: Database, rng: np.random.Generator, parts: list[Part]) -> None:
    agree(db, rng)
    print(stages(db, unit_vector(rng), 10, options=RESIDENT))
    print(db.execute("select * from cad.resident_health").fetchall())
    db.execute("call cad.refresh_resident('cad')")
    found = db.execute("select * from cad.nearest_resident('cad', %s::vector[], 3)", [[Vector(unit_vector(rng)).to_text() for _ in range(2)]]).fetchall()
    print(found)
    db.execute("call cad.tune('cad', 0.9)")
    print(db.execute("select kind, setting, recall, p50_ms from cad.tuned_scan where chosen").fetchall())
    db.execute("select cad.drop_resident('cad')")
