"""Micro-batches across connections, and the bounded queue."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pgcad.encoders.encoder import Matrix
from pgcad.errors import CadError
from pgcad.service.batching import Batcher


class Gate:
    """An encoder of numbers that waits for permission, and remembers its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, items: list[int]) -> Matrix:
        self.open.wait(10)
        self.batches.append(items)
        if -1 in items:
            raise CadError("22023", "minus one")
        return np.array(items, np.float32)[:, None]


def with_batcher(
    scenario: Callable[[Batcher, Gate], Awaitable[None]], max_items: int = 8, queue_limit: int = 100
) -> Gate:
    gate = Gate()

    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            await scenario(Batcher("a test", gate, executor, max_items, queue_limit), gate)

    asyncio.run(run())
    return gate


async def submitted(batcher: Batcher, *requests: list[int]) -> list[asyncio.Task[Matrix]]:
    """Requests that wait; the first one is already in hand."""
    tasks = []
    for items in requests:
        tasks.append(asyncio.create_task(batcher.encode(items)))
        await asyncio.sleep(0.01)
    return tasks


def test_what_gathers_during_a_batch_becomes_the_next_one() -> None:
    async def scenario(batcher: Batcher, gate: Gate) -> None:
        tasks = await submitted(batcher, [1], [2], [3, 4], [5])
        gate.open.set()
        assert [matrix[:, 0].tolist() for matrix in await asyncio.gather(*tasks)] == [[1], [2], [3, 4], [5]]

    assert with_batcher(scenario).batches == [[1], [2, 3, 4, 5]]


def test_a_long_request_is_cut_and_put_together_again() -> None:
    async def scenario(batcher: Batcher, gate: Gate) -> None:
        gate.open.set()
        assert (await batcher.encode(list(range(20))))[:, 0].tolist() == list(range(20))

    assert max(map(len, with_batcher(scenario).batches)) == 8


def test_a_bad_item_fails_its_own_request_only() -> None:
    async def scenario(batcher: Batcher, gate: Gate) -> None:
        tasks = await submitted(batcher, [1], [2], [-1], [3])
        gate.open.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [np.ndarray, np.ndarray, CadError, np.ndarray]

    with_batcher(scenario)


def test_a_full_queue_refuses_and_recovers() -> None:
    async def scenario(batcher: Batcher, gate: Gate) -> None:
        tasks = await submitted(batcher, [1], [2], [3])
        with pytest.raises(CadError) as refused:
            await batcher.encode([4])
        assert (refused.value.sqlstate, refused.value.message) == ("53300", "encoder queue is full")
        gate.open.set()
        await asyncio.gather(*tasks)
        assert (await batcher.encode([4])).tolist() == [[4]]

    with_batcher(scenario, queue_limit=2)


def test_a_cancelled_request_is_never_encoded() -> None:
    async def scenario(batcher: Batcher, gate: Gate) -> None:
        first, second, third = await submitted(batcher, [1], [2], [3])
        second.cancel()
        gate.open.set()
        await asyncio.gather(first, third)

    assert with_batcher(scenario).batches == [[1], [3]]


def test_a_cancelled_request_keeps_nothing_in_the_queue() -> None:
    async def scenario(batcher: Batcher, gate: Gate) -> None:
        first, second = await submitted(batcher, [1], list(range(100, 120)))
        assert len(batcher._waiting) == 3
        second.cancel()
        await asyncio.wait([second])
        assert not batcher._waiting
        gate.open.set()
        await first

    with_batcher(scenario)


def test_what_is_left_of_a_failed_request_is_not_encoded() -> None:
    async def scenario(batcher: Batcher, gate: Gate) -> None:
        first, failing = await submitted(batcher, [0], [-1, *range(1, 50)])
        gate.open.set()
        await asyncio.wait([first, failing])
        assert isinstance(failing.exception(), CadError)

    assert sum(map(len, with_batcher(scenario).batches)) < 30


def test_a_provider_that_is_away_is_asked_once_for_all() -> None:
    calls = []

    def encode(items: list[int]) -> Matrix:
        calls.append(items)
        time.sleep(0.05)
        raise CadError("08001", "away")

    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            tasks = await submitted(Batcher("a test", encode, executor), [1], [2], [3])
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [CadError] * 3

    asyncio.run(run())
    assert calls == [[1], [2, 3]]
