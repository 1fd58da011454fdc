"""pgcad, asked by `cad.search_cad_vector` against the fused vectors, as the others are, without the cache.

Its setting is what a user says: the recall that `cad.tune` is to reach. The parts have no other vectors, as those of
the others have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pgcad_parts
import psycopg
from drawn_parts import DrawnParts
from numpy.typing import NDArray
from vector_model import Vectors

from contenders.contender import FIRST, Contender, Place, Setting, Unavailable
from contenders.postgresql import PostgreSql

TARGETS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
TARGETS_OF_CODES = (0.8, 0.9, 0.98)  # each takes minutes


class PgCad(PostgreSql):
    """A database with the indexes of one profile."""

    def __init__(self, place: Place, profile: str = "fast", strategy: str = "auto") -> None:
        super().__init__(place)
        self._profile, self._strategy = profile, strategy
        self._targets = TARGETS_OF_CODES if self._coded else TARGETS
        self.settings = tuple({"target_recall": target} for target in self._targets)

    def load(self, parts: DrawnParts) -> None:
        self.connect_to_build()
        if self._coded and self._db.execute("select to_regproc('cad.train_codes')").fetchone() == (None,):
            raise Unavailable(f"this version of pgcad has no strategy {self._strategy}")
        self._db.execute("select cad.drop_index('cad', 'hnsw')")
        pgcad_parts.load(self._db, parts, ["fused_vec"])

    def build(self) -> None:
        self._db.execute("call cad.use_profile('cad', %s)", [self._profile])
        if self._coded:
            try:
                self._db.execute("call cad.train_codes('cad')")
            except psycopg.errors.SqlclientUnableToEstablishSqlconnection as error:
                raise Unavailable(f"the encoder service, which trains codes, does not run: {error}") from None

    def settle(self, questions: Vectors) -> None:
        for table in ("cad.model", "cad.space_cad"):
            self._db.execute(f"vacuum analyze {table}")
        pgcad_parts.log_questions(self._db, questions, FIRST)
        for target in self._targets:
            self._db.execute("call cad.tune('cad', %s::real)", [target])

    @property
    def _coded(self) -> bool:
        return self._strategy in ("lsh", "tri")

    def open(self) -> None:
        super().open()
        self._db.execute("set pgcad.cache = off")
        self._db.execute("set pgcad.log_share = 0")

    def use(self, setting: Setting) -> None:
        self._db.execute(
            "select cad._put_in_force('cad', t.version) from cad.tuning as t"
            " where t.space = 'cad' and t.target_recall = %s::real",
            [setting["target_recall"]],
        )

    def ask(self, question: NDArray[np.float32], share: float) -> Iterable[int]:
        rows = self._db.execute(pgcad_parts.SEARCH, self._given(question, share)).fetchall()
        return [part.int - 1 for (part,) in rows]

    def vector_ms(self, question: NDArray[np.float32], share: float) -> float | None:
        [(vector_ms, _)] = self._db.execute(pgcad_parts.EXPLAIN, self._given(question, share)).fetchall()
        return float(vector_ms)

    def _given(self, question: NDArray[np.float32], share: float) -> dict[str, object]:
        return pgcad_parts.question(question, share, FIRST, strategy=self._strategy)


CONTENDERS: dict[str, Callable[[Place], Contender]] = {
    "pgcad fast": PgCad,
    "pgcad compact": partial(PgCad, profile="compact"),
    "pgcad lsh": partial(PgCad, strategy="lsh"),
    "pgcad tri": partial(PgCad, profile="growing", strategy="tri"),  # it scans the graph, too
}
