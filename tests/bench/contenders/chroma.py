"""Chroma with the defaults of its HNSW. A setting takes effect when the collection is opened anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import chromadb
import numpy as np
from chromadb.api.shared_system_client import SharedSystemClient
from drawn_parts import DrawnParts
from numpy.typing import NDArray

from contenders.contender import FIRST, Contender, Place, Setting


class Chroma(Contender):
    """A collection in a folder. Adding builds the index."""

    packages = ("chromadb",)
    settings = tuple({"ef_search": ef} for ef in (10, 40, 100, 200, 400, 800))

    def load(self, parts: DrawnParts) -> None:
        client = self._client()
        collection = client.create_collection("parts", configuration={"hnsw": {"space": "ip"}}, embedding_function=None)
        most = client.get_max_batch_size()
        for start in range(0, len(parts.vectors), most):
            places = range(start, min(start + most, len(parts.vectors)))
            collection.add(
                ids=[str(place) for place in places],
                embeddings=parts.vectors[places.start : places.stop],
                metadatas=[{"mass_kg": mass} for mass in parts.masses[places.start : places.stop].tolist()],
            )

    def build(self) -> None:
        pass

    def open(self) -> None:
        SharedSystemClient.clear_system_cache()  # or the client of before is given again
        self._collection = self._client().get_collection("parts")

    def use(self, setting: Setting) -> None:
        if self._collection.configuration["hnsw"]["ef_search"] != setting["ef_search"]:
            self._collection.modify(configuration={"hnsw": setting})
            self.open()

    def ask(self, question: NDArray[np.float32], share: float) -> Iterable[int]:
        where = {"mass_kg": {"$lt": share}} if share < 1 else None
        found = self._collection.query(query_embeddings=[question], n_results=FIRST, include=[], where=where)
        return map(int, found["ids"][0])

    def _client(self) -> chromadb.ClientAPI:
        return chromadb.PersistentClient(self.place.folder, chromadb.Settings(anonymized_telemetry=False))


CONTENDERS: dict[str, Callable[[Place], Contender]] = {"Chroma": Chroma}
