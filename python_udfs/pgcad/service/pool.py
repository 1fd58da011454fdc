"""The pool of geometry workers: memory and time limits per job, and a fresh process for every one that fails."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
import heapq
import itertools
import os
import signal
import socket
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pgcad.client import pack
from pgcad.errors import CadError
from pgcad.service.batching import queue_full
from pgcad.service.frames import ByteBudget, Frame, error_of, receive
from pgcad.service.logs import Log
from pgcad.service.process import resident_bytes

MEMORY_CHECK_S = 0.05
WARM_UP_LIMIT_S = 300.0
CRASH_LIMIT_S = 1.0
NATIVE_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
RESTART_DELAYS_S = (0.0, 1.0, 5.0, 30.0)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"), "1")


def _environment() -> dict[str, str]:
    """Of a worker. Where jemalloc is installed it takes the place of the C library's allocator: OpenCASCADE makes and
    drops millions of small objects, and that is quicker with it.
    """
    allocators = [name for name in (ctypes.util.find_library("jemalloc"), os.environ.get("LD_PRELOAD")) if name]
    preload = {"LD_PRELOAD": " ".join(allocators)} if allocators else {}
    return {**os.environ, **ONE_THREAD, **preload, "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True)
class WorkerLimits:
    """What one job may take; a worker is replaced after `jobs` of them, or when it has kept half its memory."""

    memory_mb: int = 1500
    jobs: int = 500


@dataclass(frozen=True)
class TimeLimit:
    """How long a job may take, and the option of `pgcad serve` that says so."""

    seconds: float
    option: str


@dataclass(order=True)
class _Job:
    urgency: int
    number: int
    request: bytes = field(compare=False)
    limit: TimeLimit = field(compare=False)
    answer: asyncio.Future[Frame] = field(compare=False)
    crashed: bool = field(compare=False, default=False)


class Worker:
    """One worker process and the socket to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        memory_mb: int,
    ) -> None:
        self.pid = process.pid
        self._process, self._reader, self._writer, self._memory_mb = process, reader, writer, memory_mb
        self._budget = ByteBudget(sys.maxsize)
        self._tail: deque[bytes] = deque(maxlen=8)
        self._listener = asyncio.create_task(self._listen())
        self._peak_mb = 0

    @classmethod
    async def start(cls, memory_mb: int) -> Worker:
        """Start a process and wait until it is warm. Raises CadError 58000 when it cannot start."""
        try:
            worker = await cls._spawn(memory_mb)
        except OSError as error:
            hint = "The machine is out of processes, memory or file descriptors."
            raise CadError("58000", "a geometry worker could not be started", hint, str(error)) from error
        try:
            async with asyncio.timeout(WARM_UP_LIMIT_S):
                ready = await receive_patiently(worker._reader, worker._budget)
        except TimeoutError:
            await worker.stop()
            hint = "The machine is overloaded, or its OpenGL driver hangs."
            raise CadError("58000", f"a geometry worker was not ready within {WARM_UP_LIMIT_S:.0f} s", hint) from None
        except BaseException:  # such as the end of the service while it starts
            await worker.stop()
            raise
        if ready is None:
            ending = await worker.stop()
            hint = "Run `python -c 'import pgcad.service.jobs as j; j.warm()'` as the same user to see why."
            raise CadError("58000", f"a geometry worker could not start ({ending})", hint, worker.output)
        return worker

    @classmethod
    async def _spawn(cls, memory_mb: int) -> Worker:
        """Start a process. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.callback(ours.close)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pgcad.service.worker", str(theirs.fileno()), str(2 * memory_mb << 20)),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=_environment(),
            )
            on_failure.callback(process.kill)
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=1 << 20)
            on_failure.pop_all()
        return cls(process, reader, writer, memory_mb)

    @property
    def output(self) -> str:
        """The last of what the process printed, without the list of modules that ends a report of faulthandler."""
        text = b"".join(self._tail).decode(errors="replace")
        return "\n".join(line for line in text.splitlines() if not line.startswith("Extension modules: "))[-2000:]

    @property
    def swollen(self) -> bool:
        """Whether it has kept more than half of its memory for itself."""
        return resident_bytes(self.pid) > self._memory_mb << 19

    async def do(self, request: bytes, limit: TimeLimit) -> Frame:
        """Run one job. Raises CadError with the job's own error, or `WorkerLost` when the worker must be replaced."""
        exchange = asyncio.create_task(self._exchange(request))
        watch = asyncio.create_task(self._watch_memory())
        try:
            await asyncio.wait({exchange, watch}, timeout=limit.seconds, return_when=asyncio.FIRST_COMPLETED)
            if exchange.done():
                answer = exchange.result()
                if answer is None:
                    raise await self._crash()
                return self._checked(answer)
            if watch.done():
                raise self._memory_error()
            raise WorkerLost(
                "57014",
                f"reading this file took longer than {limit.seconds:g} s",
                f"Simplify the model, or start pgcad serve with a higher {limit.option}.",
            )
        finally:
            exchange.cancel()
            watch.cancel()

    async def stop(self) -> str:
        """End the process at once; returns how it ended, by itself or by this."""
        code = await self._end(patience_s=0.1)  # one that has closed its socket is on its way
        self._writer.close()
        await asyncio.wait({self._listener}, timeout=1)
        return _ending(code)

    async def _end(self, patience_s: float) -> int:
        """The exit status of the process, which is killed if it does not end by itself within `patience_s`."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._process.wait(), patience_s)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()

    async def _exchange(self, request: bytes) -> Frame | None:
        try:
            self._writer.write(request)
            await self._writer.drain()
            return await receive_patiently(self._reader, self._budget)
        except ConnectionError:
            return None

    def _checked(self, answer: Frame) -> Frame:
        error = error_of(answer.header)
        if error is None:
            return answer
        raise self._memory_error() if error.sqlstate == "53200" else error

    async def _watch_memory(self) -> None:
        """Returns when the process holds more than its limit."""
        while (resident_mb := resident_bytes(self.pid) >> 20) <= self._memory_mb:
            self._peak_mb = max(self._peak_mb, resident_mb)
            await asyncio.sleep(MEMORY_CHECK_S)

    async def _crash(self) -> CadError:
        code = await self._end(CRASH_LIMIT_S)
        if self._peak_mb > 0.8 * self._memory_mb:  # C++ aborts when an allocation is refused
            return self._memory_error()
        lost = WorkerLost(
            "58000",
            f"the geometry worker crashed on this file ({_ending(code)})",
            "The file is probably damaged; open it in a CAD system and export it again.",
        )
        lost.by_itself = -code in NATIVE_CRASHES
        return lost

    def _memory_error(self) -> CadError:
        return WorkerLost(
            "53200",
            f"reading this file takes more than {self._memory_mb} MB of memory",
            "Simplify the model, or start pgcad serve with a higher --worker-memory-mb.",
        )

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(4096):
            self._tail.append(chunk)


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


class WorkerLost(CadError):
    """A job's error after which its worker must be replaced."""

    by_itself = False
    """Whether the worker's own code crashed, which after many files need not be the fault of this one."""


async def receive_patiently(reader: asyncio.StreamReader, budget: ByteBudget) -> Frame | None:
    """As `frames.receive`; malformed answers count as a lost worker."""
    try:
        return await receive(reader, budget)
    except CadError:
        return None


class Pool:
    """`size` workers that take the most urgent job first."""

    def __init__(self, size: int, limits: WorkerLimits, queue_limit: int, log: Log) -> None:
        self.size, self.restarts, self.busy = size, 0, 0
        self._limits, self._queue_limit, self._log = limits, queue_limit, log
        self._jobs: list[_Job] = []
        self._numbers = itertools.count()
        self._arrived = asyncio.Event()
        self._slots: list[asyncio.Task[None]] = []

    @property
    def depth(self) -> int:
        """Jobs that wait for a worker."""
        return sum(not job.answer.done() for job in self._jobs)

    async def start(self) -> None:
        """Start all workers. Raises CadError 58000 when they cannot start."""
        starting = [asyncio.create_task(Worker.start(self._limits.memory_mb)) for _ in range(self.size)]
        try:
            workers = await asyncio.gather(*starting)
        except BaseException:
            for task in starting:
                task.cancel()
            for started in await asyncio.gather(*starting, return_exceptions=True):
                if not isinstance(started, BaseException):
                    await started.stop()
            raise
        self._slots = [asyncio.create_task(self._keep_slot(worker)) for worker in workers]

    async def stop(self) -> None:
        """End all workers at once."""
        for slot in self._slots:
            slot.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)

    async def run(
        self, op: str, header: dict[str, Any], payloads: list[bytes], limit: TimeLimit, urgent: bool
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Run a job in a worker. Raises CadError: the job's own, or 53200, 57014, 58000, 53300."""
        if self.depth >= self._queue_limit:
            raise queue_full("a geometry worker", self._queue_limit)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        request = pack({**header, "op": op}, payloads)
        heapq.heappush(self._jobs, _Job(0 if urgent else 1, next(self._numbers), request, limit, answer))
        self._arrived.set()
        try:
            return await answer
        except asyncio.CancelledError:  # its file must not be kept until its turn would have come
            self._jobs = [job for job in self._jobs if not job.answer.done()]
            heapq.heapify(self._jobs)
            raise

    async def _keep_slot(self, worker: Worker | None) -> None:
        failures = 0
        while True:
            try:
                worker = worker or await Worker.start(self._limits.memory_mb)
                failures = 0
            except Exception as error:  # whatever it is: a slot that gives up would be missing for ever
                failures = min(failures + 1, len(RESTART_DELAYS_S) - 1)
                self._log("error", "worker_start_failed", reason=str(error), detail=getattr(error, "detail", ""))
                await asyncio.sleep(RESTART_DELAYS_S[failures])
                continue
            try:
                await self._work(worker)
            finally:
                await worker.stop()
            worker = None
            self.restarts += 1

    async def _work(self, worker: Worker) -> None:
        """Give jobs to `worker` until it must be replaced."""
        for _ in range(self._limits.jobs):
            job = await self._next_job()
            self.busy += 1
            try:
                outcome: Frame | CadError = await worker.do(job.request, job.limit)
            except CadError as error:
                outcome = error
            except Exception as error:  # a defect of ours costs this job and this worker, and nothing else
                hint = "This is a defect of pgcad: see the log of `pgcad serve`."
                outcome = WorkerLost("XX000", f"the geometry pool failed: {type(error).__name__}", hint, str(error))
            finally:
                self.busy -= 1
            if isinstance(outcome, WorkerLost):
                self._lose(worker, job, outcome)
                return
            _settle(job.answer, outcome)
            if worker.swollen:
                break
        self._log("info", "worker_recycled", worker_pid=worker.pid)

    def _lose(self, worker: Worker, job: _Job, error: WorkerLost) -> None:
        """Log the end of a worker. A job that it crashed on has a second chance, in a new one: then it is the file."""
        again = error.by_itself and not job.crashed
        self._log(
            "error",
            "worker_lost",
            worker_pid=worker.pid,
            sqlstate=error.sqlstate,
            reason=error.message,
            again=again,
            output=worker.output,
        )
        if again:
            job.crashed = True
            heapq.heappush(self._jobs, job)
            self._arrived.set()
        else:
            _settle(job.answer, error)

    async def _next_job(self) -> _Job:
        while True:
            while self._jobs:
                job = heapq.heappop(self._jobs)
                if not job.answer.done():  # its client may have gone
                    return job
            self._arrived.clear()
            await self._arrived.wait()


def _settle(answer: asyncio.Future[Frame], outcome: Frame | CadError) -> None:
    if answer.done():  # its client has gone
        return
    if isinstance(outcome, CadError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
