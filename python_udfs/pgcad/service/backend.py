"""The service's backend: geometry in worker processes, encoders behind micro-batches in two threads."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pgcad import __version__
from pgcad.client import PROTOCOL
from pgcad.service.batching import Batcher, Matrix, VectorCache
from pgcad.service.config import ServiceConfig
from pgcad.service.dispatch import Answer, Request, Space, encode
from pgcad.service.pool import Pool, TimeLimit

# Texts have a thread of their own: a search must not wait behind the pictures of an ingest.
THREADS = {"query": "text", "passage": "text", "image": "vision", "points": "vision", "brep": "vision"}
# On a CPU, larger batches of pictures leave its caches and take longer per picture; a GPU wants them large.
BATCH_ITEMS = {"query": 32, "passage": 8, "image": 5, "points": 8, "brep": 4}
GPU_BATCH_FACTOR = 16


class ServiceBackend:
    """Implements `dispatch.Backend` for many connections at once."""

    def __init__(self, space: Space, pool: Pool, config: ServiceConfig) -> None:
        self.space, self.cache, self.status = space, VectorCache(), "ok"
        self.requests: Counter[str] = Counter()
        self._pool, self._config, self._started = pool, config, time.monotonic()
        self._query_limit = TimeLimit(config.query_limit_s, "--query-limit-s")
        self._file_limit = TimeLimit(config.file_limit_s, "--file-limit-s")
        self._device = str(getattr(space, "device", "cpu"))
        executors = {name: ThreadPoolExecutor(1, thread_name_prefix=name) for name in set(THREADS.values())}
        factor = 1 if self._device == "cpu" else GPU_BATCH_FACTOR
        self._batchers = {
            kind: Batcher(
                f"the {kind} encoder",
                functools.partial(encode, space, kind),
                executors[thread],
                factor * BATCH_ITEMS[kind],
                config.queue_limit,
            )
            for kind, thread in THREADS.items()
        }

    async def geometry(self, job: str, requests: Sequence[Request]) -> list[Answer]:
        urgent = job != "analyse"
        limit = self._query_limit if urgent else self._file_limit
        share = asyncio.Semaphore(self._pool.size)  # one request takes its turns, however many files it brings

        async def run(request: Request) -> Answer:
            async with share:
                return await self._pool.run(job, *request, limit, urgent)

        answers = [asyncio.create_task(run(request)) for request in requests]
        try:
            return await asyncio.gather(*answers)
        finally:  # after an error nobody waits for the others
            for answer in answers:
                answer.cancel()

    async def encode(self, kind: str, items: Sequence[Any]) -> Matrix:
        return await self._batchers[kind].encode(items)

    def health(self) -> dict[str, Any]:
        pool = self._pool
        return {
            "status": self.status,
            "protocol": PROTOCOL,
            "pgcad_version": __version__,
            "device": self._device,
            "spaces": {self.space.name: {"version": self.space.version, "dim": self.space.dim}},
            "queue_depth": pool.depth + sum(batcher.depth for batcher in self._batchers.values()),
            "queue_limit": self._config.queue_limit,
            "workers": {"size": pool.size, "busy": pool.busy, "restarts": pool.restarts},
            "uptime_s": round(time.monotonic() - self._started, 1),
            "requests": dict(self.requests),
            "cache": {"hits": self.cache.hits, "misses": self.cache.misses},
        }
