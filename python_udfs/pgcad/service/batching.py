"""Micro-batching across connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgcad.errors import CadError

Rows = NDArray[Any]
"""Something for each item: a vector, or any object."""
NOT_OF_AN_ITEM = ("08", "28", "53300", "57")
"""How errors begin that say that a provider is away or has had enough: asking it for each item would not help."""


def queue_full(queue: str, limit: int) -> CadError:
    """The error for a request that finds `limit` others waiting."""
    return CadError(
        "53300",
        "encoder queue is full",
        "Try again in a moment; lower the number of ingest sessions, or start pgcad serve with a higher --queue-limit.",
        f"{limit} requests wait for {queue}",
    )


class Batcher:
    """Encodes what waits, up to `max_items` at a time, whichever connections it came from.

    A batch is whatever has gathered while the one before it ran, so a lone query is never held back by a timer.
    Requests beyond `queue_limit` waiting are refused with 53300.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[list[Any]], Rows],
        executor: Executor,
        max_items: int = 16,
        queue_limit: int = 256,
    ) -> None:
        self._name, self._encode, self._executor = name, encode, executor
        self._max_items, self._queue_limit = max_items, queue_limit
        self._waiting: deque[tuple[Sequence[Any], asyncio.Future[Rows]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Requests that wait for their batch."""
        return sum(not answer.done() for _, answer in self._waiting)

    async def encode(self, items: Sequence[Any]) -> Rows:
        """One row per item. Raises CadError 53300 when the queue is full, and whatever the encoder raises."""
        if self.depth >= self._queue_limit:
            raise queue_full(self._name, self._queue_limit)
        answers = []
        for start in range(0, len(items), self._max_items):
            answer = asyncio.get_running_loop().create_future()
            self._waiting.append((items[start : start + self._max_items], answer))
            answers.append(answer)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            return np.concatenate(await asyncio.gather(*answers))
        except BaseException:  # nobody waits for the rest any more: it must not keep its items until its turn comes
            for answer in answers:
                answer.cancel()
            self._waiting = deque(request for request in self._waiting if not request[1].done())
            raise

    async def _run(self) -> None:
        while batch := self._next_batch():
            try:
                await self._encode_batch(batch)
            except Exception as error:  # it belongs to the requests of the batch
                if len(batch) == 1 or (isinstance(error, CadError) and error.sqlstate.startswith(NOT_OF_AN_ITEM)):
                    for _, answer in batch:
                        _settle(answer, error)
                else:  # find out whose item it was: nobody else's request may fail for it
                    for request in batch:
                        await self._encode_alone(request)

    async def _encode_alone(self, request: tuple[Sequence[Any], asyncio.Future[Rows]]) -> None:
        try:
            await self._encode_batch([request])
        except Exception as error:  # it belongs to this request
            _settle(request[1], error)

    async def _encode_batch(self, batch: list[tuple[Sequence[Any], asyncio.Future[Rows]]]) -> None:
        together = [item for items, _ in batch for item in items]
        matrix = await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, together)
        start = 0
        for items, answer in batch:
            _settle(answer, matrix[start : start + len(items)])
            start += len(items)

    def _next_batch(self) -> list[tuple[Sequence[Any], asyncio.Future[Rows]]]:
        batch: list[tuple[Sequence[Any], asyncio.Future[Rows]]] = []
        size = 0
        while self._waiting and size + len(self._waiting[0][0]) <= self._max_items:
            items, answer = self._waiting.popleft()
            if not answer.done():  # its client may have gone
                batch.append((items, answer))
                size += len(items)
        return batch


def _settle(answer: asyncio.Future[Rows], outcome: Rows | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
