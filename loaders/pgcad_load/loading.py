"""One load: a thread that fills the queue, N connections that work on it, and a progress bar that watches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from urllib.parse import unquote

import psycopg
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pgcad_load.connection import Connection, connect
from pgcad_load.display import console, printable, printable_path
from pgcad_load.ingest_queue import Enqueued

POLL_S = 0.5
RETRY_S = 2.0
CALL_ROWS = 32  # rows a worker takes in one call: few enough that it soon hears that the load is over
SERVICE_AWAY = frozenset({"08001", "08006", "53300", "57014"})  # unreachable, lost, its queue full, no answer in time

Feed = Callable[[Connection], Iterator[Enqueued]]


class LoadError(Exception):
    """The load cannot go on. Nothing is lost: what is queued stays queued."""


@dataclass(frozen=True)
class Options:
    """How to load: the database, how many connections work, and how long to wait for a service that is down."""

    dsn: str
    jobs: int
    wait_s: float
    retry_failed: bool = False


@dataclass(frozen=True)
class Failure:
    """A file that became no part, and why."""

    file: str
    reason: str


@dataclass
class Tally:
    """What became of the files of one load; every file is in exactly one place."""

    expected: int
    already: int = 0
    new: int = 0
    duplicate: int = 0
    failures: list[Failure] = field(default_factory=list)
    open_ids: set[int] = field(default_factory=set)

    @property
    def finished(self) -> int:
        return self.new + self.duplicate + len(self.failures)

    def arrive(self, batch: Enqueued) -> None:
        """Take in a batch that was queued."""
        self.already += len(batch.done_ids)
        self.open_ids.update(batch.open_ids)
        self.failures += [Failure(printable_path(file.path), printable(file.reason)) for file in batch.unreadable]

    def settle(self, connection: Connection) -> None:
        """Move rows that are no longer pending to where they belong."""
        rows = connection.execute(
            """
            select ingest_id, source_uri, state, outcome, last_error, last_sqlstate
            from cad.ingest where ingest_id = any(%s) and state <> 'pending'
            order by ingest_id
            """,
            [list(self.open_ids)],
        )
        for ingest_id, source_uri, state, outcome, error, sqlstate in rows:
            self.open_ids.discard(ingest_id)
            if state == "failed":
                self.failures.append(Failure(readable_uri(source_uri), printable(f"{error} [{sqlstate}]")))
            elif outcome == "duplicate":
                self.duplicate += 1
            else:
                self.new += 1


class Patience:
    """How long the encoder service has been away, over all connections of a load, and when to give up."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self.message = ""

    def answered(self) -> None:
        """Note that the service works."""
        with self._lock:
            self._away_since, self.message = None, ""

    def away(self, error: psycopg.Error) -> None:
        """Note that the service is away. Raises LoadError once that has lasted too long."""
        with self._lock:
            self._away_since = self._away_since or time.monotonic()
            left_s = self._limit_s - (time.monotonic() - self._away_since)
            self.message = f"waiting for the encoder service ({max(left_s, 0):.0f} s more)"
        if left_s <= 0:
            raise LoadError(
                f"The encoder service has not answered for {self._limit_s:.0f} s: {error.diag.message_primary}. "
                "Start it (`pgcad up` or `pgcad serve`), then run the same command again: it goes on where it stopped."
            ) from error


def run(feed: Feed, expected: int, options: Options) -> Tally:
    """Queue what `feed` yields and see it through. Raises LoadError, psycopg.Error and KeyboardInterrupt."""
    tally = Tally(expected)
    patience = Patience(options.wait_s)
    stop = threading.Event()
    arrivals: SimpleQueue[Enqueued] = SimpleQueue()
    with ThreadPoolExecutor(options.jobs + 1) as threads, connect(options.dsn) as watcher, _progress() as progress:
        if options.retry_failed:
            watcher.execute("select cad.retry_failed()")
        workers = [connect(options.dsn) for _ in range(options.jobs)]
        feeding = threads.submit(_feed, feed, options.dsn, arrivals, stop)
        working = [threads.submit(_work, worker, patience, stop) for worker in workers]
        bar = progress.add_task("loading", total=expected, failed=0)
        try:
            while not feeding.done() or not arrivals.empty() or tally.open_ids:
                _raise_first([feeding, *working])
                while not arrivals.empty():
                    tally.arrive(arrivals.get())
                tally.settle(watcher)
                total = max(expected - tally.already, tally.finished + len(tally.open_ids))
                progress.update(
                    bar,
                    completed=tally.finished,
                    total=total,
                    failed=len(tally.failures),
                    description=patience.message or "loading",
                )
                stop.wait(POLL_S if tally.open_ids or not feeding.done() else 0)
            _raise_first([feeding])
            stop.set()
        finally:
            if not stop.is_set():
                stop.set()
                for worker in workers:
                    worker.cancel_safe(timeout=RETRY_S)
            for future in working:
                future.exception()
            for worker in workers:
                worker.close()
    return tally


def _feed(feed: Feed, dsn: str, arrivals: SimpleQueue[Enqueued], stop: threading.Event) -> None:
    with connect(dsn) as connection:
        for batch in feed(connection):
            arrivals.put(batch)
            if stop.is_set():
                return


def _work(connection: Connection, patience: Patience, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            started = time.monotonic()
            connection.execute("call cad.ingest_pending(max_rows => %s)", [CALL_ROWS])
        except (psycopg.OperationalError, psycopg.errors.ConnectionException) as error:
            if not _service_is_away(error):
                raise
            patience.away(error)
            stop.wait(RETRY_S)
        else:
            patience.answered()
            stop.wait(max(0.0, POLL_S - (time.monotonic() - started)))  # an empty queue answers at once


def _service_is_away(error: psycopg.Error) -> bool:
    """Whether the database itself answered, and said that the encoder service did not."""
    return error.diag.severity is not None and error.sqlstate in SERVICE_AWAY


def _raise_first(futures: list[Future[None]]) -> None:
    for future in futures:
        if future.done():
            future.result()


def readable_uri(source_uri: str) -> str:
    """A source URI as a person reads it: file URIs as paths, anything unprintable escaped."""
    if source_uri.startswith("file://"):
        return printable(unquote(source_uri.removeprefix("file://"), errors="surrogateescape"))
    return printable(source_uri)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} parts/s")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=60,
    )
