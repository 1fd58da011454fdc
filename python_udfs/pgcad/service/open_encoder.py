"""An encoder in use: whoever asks it shares its batches and its cache of vectors."""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from numpy.typing import NDArray

from pgcad.encoders.encoder import KINDS, Encoder, Kind, Matrix
from pgcad.service.batching import Batcher

# Texts have a thread of their own: a search must not wait behind the pictures of an ingest.
THREADS: dict[Kind, str] = {
    "query": "text",
    "passage": "text",
    "image": "vision",
    "points": "vision",
    "brep": "vision",
}
# On a CPU, larger batches of pictures leave its caches and take longer per picture; a GPU wants them large.
BATCH_ITEMS: dict[Kind, int] = {"query": 32, "passage": 8, "image": 5, "points": 8, "brep": 4}
GPU_BATCH_FACTOR = 16
CACHE_BYTES = 40 << 20
"""20,000 vectors of 512 dimensions."""


class VectorCache:
    """The latest vectors of one encoder and what else was made of questions, up to `capacity_bytes`, least recently
    used out first.
    """

    def __init__(self, version: str, capacity_bytes: int = CACHE_BYTES) -> None:
        self._version, self._capacity_bytes, self._held_bytes = version.encode(), capacity_bytes, 0
        self._vectors: OrderedDict[bytes, NDArray[Any]] = OrderedDict()
        self.hits = self.misses = 0

    def key(self, kind: str, content: bytes) -> bytes:
        """What identifies a query: the encoder's version, how it is encoded, and its bytes."""
        digest = hashlib.blake2b(self._version + b"\0", digest_size=20, person=kind.encode()[:16])
        digest.update(content)
        return digest.digest()

    def get(self, key: bytes) -> NDArray[Any] | None:
        vector = self._vectors.get(key)
        if vector is None:
            self.misses += 1
        else:
            self.hits += 1
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: bytes, vector: NDArray[Any]) -> None:
        if key not in self._vectors:
            self._held_bytes += vector.nbytes
        self._vectors[key] = vector.copy()  # not the whole batch that it is a row of
        self._vectors.move_to_end(key)
        while self._held_bytes > self._capacity_bytes:
            self._held_bytes -= self._vectors.popitem(last=False)[1].nbytes


class OpenEncoder(Protocol):
    """What the dispatcher sees of an encoder."""

    @property
    def encoder(self) -> Encoder: ...
    @property
    def cache(self) -> VectorCache: ...
    async def encode(self, kind: Kind, items: Sequence[Any]) -> Matrix: ...


class BatchedEncoder:
    """An encoder behind micro-batches in two threads of its own, so that no encoder waits for another."""

    def __init__(self, encoder: Encoder, device: str, queue_limit: int) -> None:
        self.encoder, self.cache = encoder, VectorCache(encoder.version)
        kinds = [kind for modality in encoder.modalities for kind in KINDS[modality]]
        executors = {name: ThreadPoolExecutor(1, f"{encoder.version} {name}") for name in set(THREADS.values())}
        factor = 1 if device == "cpu" else GPU_BATCH_FACTOR
        self._batchers = {
            kind: Batcher(
                f"the {kind} encoder of {encoder.version}",
                functools.partial(encoder.embed, kind),
                executors[THREADS[kind]],
                encoder.largest_batch or factor * BATCH_ITEMS[kind],
                queue_limit,
            )
            for kind in kinds
        }

    async def encode(self, kind: Kind, items: Sequence[Any]) -> Matrix:
        """One row per item. Raises CadError 53300 when the queue is full, and what the encoder raises."""
        return await self._batchers[kind].encode(items)

    @property
    def depth(self) -> int:
        """Requests that wait for their batch."""
        return sum(batcher.depth for batcher in self._batchers.values())


class InlineEncoder:
    """An encoder that works at once, in the thread that asks."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.cache = encoder, VectorCache(encoder.version)

    async def encode(self, kind: Kind, items: Sequence[Any]) -> Matrix:
        return self.encoder.embed(kind, items)


def described(opened: OpenEncoder) -> dict[str, Any]:
    """What `health` says of an encoder."""
    return {
        "version": opened.encoder.version,
        "dim": opened.encoder.dim,
        "modalities": sorted(opened.encoder.modalities),
        "cache": {"hits": opened.cache.hits, "misses": opened.cache.misses},
    }
