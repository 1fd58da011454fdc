"""The service's backend: geometry in worker processes, every encoder behind micro-batches in threads of its own."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pgcad import __version__
from pgcad.client import PROTOCOL
from pgcad.encoders.encoder import Encoder
from pgcad.encoders.spec import Spec
from pgcad.service.config import ServiceConfig
from pgcad.service.desk import DEFAULT_SPACE, Answer, Request
from pgcad.service.logs import Log
from pgcad.service.open_encoder import BatchedEncoder, described
from pgcad.service.pool import Pool, TimeLimit
from pgcad.service.registry import Registry
from pgcad.service.resident import ResidentSpaces


class ServiceBackend:
    """Implements `desk.Backend` for many connections at once."""

    def __init__(self, default: Encoder, pool: Pool, config: ServiceConfig, log: Log) -> None:
        self.models, self.status = config.models, "ok"
        self.requests: Counter[str] = Counter()
        self._pool, self._config, self._started = pool, config, time.monotonic()
        self._query_limit = TimeLimit(config.query_limit_s, "--query-limit-s")
        self._file_limit = TimeLimit(config.file_limit_s, "--file-limit-s")
        self._device = str(getattr(default, "device", "cpu"))
        self.default = self._in_use(default)
        self.resident = ResidentSpaces(config.resident_memory_mb << 20, self._device, config.queue_limit)
        self._others = Registry(lambda spec: spec.open(default, self._device), self._in_use, log)

    def _in_use(self, encoder: Encoder) -> BatchedEncoder:
        return BatchedEncoder(encoder, self._device, self._config.queue_limit)

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

    async def open(self, space: str, spec: Spec) -> BatchedEncoder:
        return await self._others.get(space, spec)

    def close(self) -> None:
        """Let every encoder go of what it waits for: nobody waits for them any more."""
        self._others.close()

    def health(self) -> dict[str, Any]:
        pool = self._pool
        return {
            "status": self.status,
            "protocol": PROTOCOL,
            "pgcad_version": __version__,
            "device": self._device,
            "spaces": {**self._others.health(), DEFAULT_SPACE: described(self.default)},
            "queue_depth": pool.depth + self.default.depth + self._others.depth + self.resident.depth,
            "queue_limit": self._config.queue_limit,
            "workers": {"size": pool.size, "busy": pool.busy, "restarts": pool.restarts},
            "resident": self.resident.health(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "requests": dict(self.requests),
            "cache": {"hits": self.default.cache.hits, "misses": self.default.cache.misses},
        }
