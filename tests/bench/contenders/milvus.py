"""Milvus Lite: HNSW with the parameters of its manual (M 16, efConstruction 200), and a scalar index on the mass."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from drawn_parts import DrawnParts
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient

from contenders.contender import FIRST, Contender, Place, Setting

BATCH = 5000


class MilvusLite(Contender):
    """A collection in a file, read by this process."""

    packages = ("milvus-lite", "pymilvus")
    settings = tuple({"ef": ef} for ef in (10, 20, 40, 80, 160, 320, 640))
    filtered_settings = ({"ef": 2560},)

    def load(self, parts: DrawnParts) -> None:
        self._connect()
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("mass_kg", DataType.DOUBLE)
        schema.add_field("vec", DataType.FLOAT_VECTOR, dim=parts.vectors.shape[1])
        self._client.create_collection("parts", schema=schema)
        for start in range(0, len(parts.vectors), BATCH):
            stop = start + BATCH
            pairs = zip(parts.masses[start:stop].tolist(), parts.vectors[start:stop], strict=True)
            rows = [{"id": place, "mass_kg": mass, "vec": vector} for place, (mass, vector) in enumerate(pairs, start)]
            self._client.insert("parts", rows)
        self._client.flush("parts")

    def build(self) -> None:
        indexes = self._client.prepare_index_params()
        indexes.add_index("vec", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 200})
        indexes.add_index("mass_kg", index_type="INVERTED")
        self._client.create_index("parts", indexes)
        self._client.load_collection("parts")
        self._client.close()

    def open(self) -> None:
        self._connect()
        self._client.load_collection("parts")

    def use(self, setting: Setting) -> None:
        self._setting = setting

    def ask(self, question: NDArray[np.float32], share: float) -> Iterable[int]:
        matching = f"mass_kg < {share}" if share < 1 else ""
        found = self._client.search(
            "parts", [question], limit=FIRST, filter=matching, search_params={"params": self._setting}
        )
        return (hit["id"] for hit in found[0])

    def _connect(self) -> None:
        self._client = MilvusClient(str(self.place.folder / "milvus.db"))


CONTENDERS: dict[str, Callable[[Place], Contender]] = {"Milvus Lite": MilvusLite}
