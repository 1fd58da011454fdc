"""The pool of workers when processes fail to start, to end or to make sense, and when clients go away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from pgcad.errors import CadError
from pgcad.service import pool as pools
from pgcad.service.frames import Frame
from pgcad.service.logs import Log
from pgcad.service.pool import Pool, TimeLimit, Worker, WorkerLimits
from pgcad.service.worker import JOBS_MODULE

LIMIT = TimeLimit(10, "--file-limit-s")
JOBS = """
import os, sys, time

def warm():
    {warm}

def linger(header, payloads):
    os.close(int(sys.argv[1]))
    time.sleep(60)

def hang(header, payloads):
    time.sleep(60)

JOBS = {{job.__name__: job for job in (linger, hang)}}
"""


class DoubleWorker:
    """Answers with the operation's name; `defect` is a defect of the pool's own."""

    pid, swollen, output = 0, False, ""

    def __init__(self) -> None:
        self.stopped = False

    async def do(self, request: bytes, limit: TimeLimit) -> Frame:
        await asyncio.sleep(0)
        if b"defect" in request:
            raise KeyError("a defect")
        return Frame({"ok": True}, [])

    async def stop(self) -> str:
        self.stopped = True
        return ""


def with_pool(scenario: Callable[[Pool], Awaitable[None]], size: int = 1) -> None:
    async def run() -> None:
        pool = Pool(size, WorkerLimits(), 10, Log("error"))
        try:
            await scenario(pool)
        finally:
            await pool.stop()

    asyncio.run(asyncio.wait_for(run(), 30))


def starting(monkeypatch: pytest.MonkeyPatch, *outcomes: Exception | None) -> list[DoubleWorker]:
    """Let workers start with these outcomes, then without fail; returns the list of those that did."""
    started: list[DoubleWorker] = []
    failures = list(outcomes)

    async def start(memory_mb: int) -> DoubleWorker:
        await asyncio.sleep(0)
        failure = failures.pop(0) if failures else None
        if failure:
            raise failure
        started.append(DoubleWorker())
        return started[-1]

    monkeypatch.setattr(Worker, "start", start)
    monkeypatch.setattr(pools, "RESTART_DELAYS_S", (0.0, 0.0))
    return started


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give workers the jobs above, and something to do before they are warm."""

    def install(warm: str) -> None:
        (tmp_path / "odd_jobs.py").write_text(JOBS.format(warm=warm))
        monkeypatch.setenv(JOBS_MODULE, "odd_jobs")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_a_job_whose_client_has_gone_leaves_the_queue_with_its_file() -> None:
    async def scenario(pool: Pool) -> None:
        tasks = [asyncio.create_task(pool.run("analyse", {}, [b"x" * 1000], LIMIT, False)) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool.depth == len(pool._jobs) == 3
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        assert pool.depth == len(pool._jobs) == 2
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert not pool._jobs

    with_pool(scenario)


def test_urgent_jobs_come_first_also_after_others_were_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    starting(monkeypatch)

    async def scenario(pool: Pool) -> None:
        order: list[str] = []

        async def run(name: str, urgent: bool) -> None:
            await pool.run(name, {}, [], LIMIT, urgent)
            order.append(name)

        tasks = [asyncio.create_task(run(f"file {number}", False)) for number in range(4)]
        await asyncio.sleep(0)
        tasks.pop(0).cancel()
        tasks.append(asyncio.create_task(run("query", True)))
        await asyncio.sleep(0)
        await pool.start()
        await asyncio.gather(*tasks)
        assert order == ["query", "file 1", "file 2", "file 3"]

    with_pool(scenario)


@pytest.mark.parametrize("failure", [OSError(24, "Too many open files"), CadError("58000", "no"), KeyError("a defect")])
def test_a_slot_outlives_whatever_keeps_its_worker_from_starting(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    starting(monkeypatch, None, failure, failure)

    async def scenario(pool: Pool) -> None:
        await pool.start()
        with pytest.raises(CadError):
            await pool.run("defect", {}, [], LIMIT, False)
        assert (await pool.run("analyse", {}, [], LIMIT, False)).header["ok"]
        assert pool.restarts == 1

    with_pool(scenario)


def test_a_defect_of_the_pool_is_an_answer_and_costs_its_worker_only(monkeypatch: pytest.MonkeyPatch) -> None:
    started = starting(monkeypatch)

    async def scenario(pool: Pool) -> None:
        await pool.start()
        with pytest.raises(CadError, match="KeyError") as failed:
            await pool.run("defect", {}, [], LIMIT, False)
        assert failed.value.sqlstate == "XX000" and failed.value.hint
        assert (await pool.run("analyse", {}, [], LIMIT, False)).header["ok"]
        assert [worker.stopped for worker in started] == [True, False]
        assert pool.busy == 0

    with_pool(scenario)


def test_workers_that_started_end_when_another_could_not(monkeypatch: pytest.MonkeyPatch) -> None:
    started = starting(monkeypatch, None, CadError("58000", "no"), None)

    async def scenario(pool: Pool) -> None:
        with pytest.raises(CadError):
            await pool.start()
        assert started and all(worker.stopped for worker in started)

    with_pool(scenario, size=3)


def test_a_machine_out_of_processes_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_process(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_process)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CadError) as failed:
        asyncio.run(Worker.start(100))
    assert failed.value.sqlstate == "58000" and "temporarily" in failed.value.detail
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_start_that_is_given_up_leaves_no_process(jobs: Callable[[str], None]) -> None:
    jobs("time.sleep(60)")
    before = children()

    async def scenario() -> None:
        worker = asyncio.create_task(Worker.start(500))
        while children() == before:
            await asyncio.sleep(0.05)
        worker.cancel()
        await asyncio.wait([worker])
        assert children() == before

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_worker_that_speaks_nonsense_is_ended(jobs: Callable[[str], None]) -> None:
    jobs("os.write(int(sys.argv[1]), b'nonsense'); time.sleep(60)")
    before = children()
    with pytest.raises(CadError) as failed:
        asyncio.run(asyncio.wait_for(Worker.start(500), 30))
    assert failed.value.sqlstate == "58000"
    assert children() == before


def test_a_worker_that_closes_its_socket_and_stays_is_killed(jobs: Callable[[str], None]) -> None:
    jobs("pass")

    async def scenario() -> None:
        worker = await Worker.start(500)
        started = time.monotonic()
        with pytest.raises(CadError, match="crashed") as failed:
            await worker.do(pools.pack({"op": "linger"}), TimeLimit(60, "--file-limit-s"))
        assert failed.value.sqlstate == "58000"
        assert time.monotonic() - started < pools.CRASH_LIMIT_S + 5
        await worker.stop()

    asyncio.run(asyncio.wait_for(scenario(), 30))


@pytest.mark.parametrize("option", ["--file-limit-s", "--query-limit-s"])
def test_a_slow_job_names_the_limit_that_it_met(jobs: Callable[[str], None], option: str) -> None:
    jobs("pass")

    async def scenario() -> None:
        worker = await Worker.start(500)
        with pytest.raises(CadError, match=r"longer than 0\.1 s") as failed:
            await worker.do(pools.pack({"op": "hang"}), TimeLimit(0.1, option))
        assert option in failed.value.hint
        await worker.stop()

    asyncio.run(asyncio.wait_for(scenario(), 30))
