"""pgvector by itself, over vector(512): an HNSW index with its defaults, an IVFFlat as its manual has it, and none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from drawn_parts import DrawnParts
from numpy.typing import NDArray
from pgvector import Vector

from contenders.contender import FIRST, Contender, Place, Setting
from contenders.postgresql import PostgreSql

SEARCH = "select id from part where mass_kg < %s order by vec <=> %s limit %s"
EF_SEARCH = (20, 40, 100, 200, 400, 1000)
PROBES = (1, 2, 4, 8, 16, 32)


class PgVector(PostgreSql):
    """A table."""

    def load(self, parts: DrawnParts) -> None:
        self.connect_to_build()
        self._db.execute("create table part (id bigint, mass_kg float8, vec vector(512))")
        with self._db.cursor().copy("copy part from stdin with (format binary)") as copy:
            copy.set_types(["int8", "float8", "vector"])
            for number, (mass, vector) in enumerate(zip(parts.masses.tolist(), parts.vectors, strict=True)):
                copy.write_row([number, mass, Vector(vector)])

    def settle(self, questions: NDArray[np.float32]) -> None:
        self._db.execute("vacuum analyze part")

    def ask(self, question: NDArray[np.float32], share: float) -> Iterable[int]:
        rows = self._db.execute(SEARCH, [share, Vector(question), FIRST]).fetchall()
        return [number for (number,) in rows]


class PgVectorHnsw(PgVector):
    """Read by order, filtered behind; with a filter also scanned on until enough match, as pgvector can since 0.8."""

    settings = tuple({"ef_search": ef, "iterative_scan": "off"} for ef in EF_SEARCH)
    filtered_settings = tuple({"ef_search": ef, "iterative_scan": "relaxed_order"} for ef in EF_SEARCH)

    def build(self) -> None:
        self._db.execute("create index on part using hnsw (vec vector_cosine_ops)")

    def use(self, setting: Setting) -> None:
        self._db.execute("set enable_sort = off")  # or a narrow filter makes the planner compare all
        self._db.execute(f"set hnsw.ef_search = {setting['ef_search']}")
        self._db.execute(f"set hnsw.iterative_scan = {setting['iterative_scan']}")


class PgVectorIvfFlat(PgVector):
    """A thousand rows in a list, as pgvector's manual recommends up to a million rows."""

    settings = tuple({"probes": probes, "iterative_scan": "off"} for probes in PROBES)
    filtered_settings = tuple({"probes": probes, "iterative_scan": "relaxed_order"} for probes in PROBES)

    def build(self) -> None:
        [(lists,)] = self._db.execute("select greatest(10, count(*) / 1000) from part").fetchall()
        self._db.execute(f"create index on part using ivfflat (vec vector_cosine_ops) with (lists = {lists})")

    def use(self, setting: Setting) -> None:
        self._db.execute("set enable_sort = off")
        self._db.execute(f"set ivfflat.probes = {setting['probes']}")
        self._db.execute(f"set ivfflat.iterative_scan = {setting['iterative_scan']}")


class PgVectorExact(PgVector):
    """Filtered by an index on the mass where that is quicker, then compared."""

    settings = ({},)

    def build(self) -> None:
        self._db.execute("create index on part (mass_kg)")

    def use(self, setting: Setting) -> None:
        pass


CONTENDERS: dict[str, Callable[[Place], Contender]] = {
    "pgvector HNSW": PgVectorHnsw,
    "pgvector IVFFlat": PgVectorIvfFlat,
    "pgvector exact": PgVectorExact,
}
