"""LanceDB with the defaults of two of its indexes, and a scalar index on the mass, which filters beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from drawn_parts import DrawnParts
from lancedb.index import BTree, HnswSq, IvfPq
from numpy.typing import NDArray

from contenders.contender import FIRST, Contender, Place, Setting


class LanceDb(Contender):
    """A table in a folder."""

    packages = ("lancedb",)

    def __init__(self, place: Place, index: Any, settings: tuple[Setting, ...]) -> None:
        super().__init__(place)
        self._kind = index
        self.settings = settings

    def load(self, parts: DrawnParts) -> None:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(parts.vectors.reshape(-1)), parts.vectors.shape[1])
        rows = pa.table({"id": np.arange(len(parts.masses)), "mass_kg": parts.masses, "vec": vectors})
        lancedb.connect(self.place.folder).create_table("parts", rows)

    def build(self) -> None:
        self.open()
        self._table.create_index("vec", config=self._kind(distance_type="cosine"))
        self._table.create_index("mass_kg", config=BTree())

    def settle(self, questions: NDArray[np.float32]) -> None:
        self._table.optimize()

    def open(self) -> None:
        self._table = lancedb.connect(self.place.folder).open_table("parts")

    def use(self, setting: Setting) -> None:
        self._setting = setting

    def ask(self, question: NDArray[np.float32], share: float) -> Iterable[int]:
        query = self._table.search(question, vector_column_name="vec").select(["id", "_distance"]).limit(FIRST)
        if share < 1:
            query = query.where(f"mass_kg < {share}", prefilter=True)
        for name, value in self._setting.items():
            query = getattr(query, name)(value)
        return query.to_arrow()["id"].to_pylist()

    def disk_bytes(self) -> dict[str, int]:
        index = sum(path.stat().st_size for path in self.place.folder.glob("*/_indices/**/*") if path.is_file())
        return {**super().disk_bytes(), "index": index}


IVF_PQ: tuple[Setting, ...] = tuple(
    {"nprobes": nprobes, "refine_factor": refine} for nprobes, refine in product((1, 4, 20, 80), (1, 5, 20))
)
IVF_HNSW_SQ: tuple[Setting, ...] = tuple(
    {"nprobes": nprobes, "ef": ef, "refine_factor": refine}
    for nprobes, ef, refine in [*product((1, 4, 20), (20, 80, 320), (1,)), (20, 320, 3), (80, 320, 3)]
)
CONTENDERS: dict[str, Callable[[Place], Contender]] = {
    "LanceDB IVF_PQ": partial(LanceDb, index=IvfPq, settings=IVF_PQ),
    "LanceDB IVF_HNSW_SQ": partial(LanceDb, index=HnswSq, settings=IVF_HNSW_SQ),
}
