"""The cache of vectors, and what belongs to one encoder alone."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import numpy as np
from pgcad.encoders.encoder import Kind, Matrix
from pgcad.service.open_encoder import BatchedEncoder, VectorCache
from service_doubles.space import TinySpace

VECTOR = np.ones(3, np.float32)


def test_the_cache_forgets_what_was_not_used() -> None:
    cache = VectorCache("v", capacity_bytes=2 * VECTOR.nbytes)
    keys = [cache.key("query", content) for content in (b"a", b"b", b"c")]
    cache.put(keys[0], VECTOR)
    cache.put(keys[1], VECTOR)
    cache.put(keys[1], VECTOR)
    cache.get(keys[0])
    cache.put(keys[2], VECTOR)
    assert [cache.get(key) is not None for key in keys] == [True, False, True]


def test_a_key_depends_on_version_kind_and_content() -> None:
    caches = [VectorCache("v1"), VectorCache("v2")]
    keys = {cache.key(kind, item) for cache in caches for kind in ("query", "passage") for item in (b"a", b"b")}
    assert len(keys) == 8


class Blocked(TinySpace):
    """An encoder that is never done until it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()

    def embed(self, kind: Kind, items: Any) -> Matrix:
        self.done.wait(60)
        return super().embed(kind, items)


def test_an_encoder_never_waits_for_another() -> None:
    async def scenario() -> None:
        slow, quick = Blocked(), TinySpace()
        waiting = asyncio.create_task(BatchedEncoder(slow, "cpu", 10).encode("query", ["nut"]))
        await asyncio.sleep(0.01)
        await asyncio.wait_for(BatchedEncoder(quick, "cpu", 10).encode("query", ["nut"]), 30)
        assert not waiting.done()
        slow.done.set()
        assert len(await waiting) == 1

    asyncio.run(scenario())


def test_a_batch_is_never_larger_than_the_encoder_takes() -> None:
    space = TinySpace()
    space.largest_batch = 3  # type: ignore[assignment]
    texts = [str(number) for number in range(8)]
    assert len(asyncio.run(BatchedEncoder(space, "cpu", 10).encode("query", texts))) == 8
    assert space.batches == [3, 3, 2]


def test_an_encoder_that_is_dropped_ends_its_threads() -> None:
    space = TinySpace()
    space.version = "dropped-1"
    opened = BatchedEncoder(space, "cpu", 10)
    asyncio.run(opened.encode("query", ["nut"]))
    [thread] = [thread for thread in threading.enumerate() if "dropped-1" in thread.name]
    del opened
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()
