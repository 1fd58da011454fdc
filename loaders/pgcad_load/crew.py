"""The threads of a load: one fills the queue, the others work on it, each over a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType

import psycopg

from pgcad_load.connection import Connection, connect
from pgcad_load.ingest_queue import Enqueued

PAUSE_S = 0.5  # between calls on an empty queue
RETRY_S = 2.0  # between calls while the service is away
CALL_ROWS = 32  # rows of one call: few enough to hear soon that the load is over
SERVICE_AWAY = frozenset({"08001", "08006", "53300", "57014", "57P01"})  # as docs/errors.md says of the service

Feed = Callable[[Connection], Iterator[Enqueued]]


class LoadError(Exception):
    """The load cannot go on. Nothing is lost: what is queued stays queued."""


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


class Crew:
    """Fills and works off the queue between `__enter__` and `__exit__`; `arrivals` tells what was queued."""

    def __init__(self, feed: Feed, dsn: str, jobs: int, patience: Patience) -> None:
        self.arrivals: SimpleQueue[Enqueued] = SimpleQueue()
        self._feed, self._patience = feed, patience
        self._stop = threading.Event()
        self._connections = [connect(dsn) for _ in range(jobs + 1)]
        self._threads = ThreadPoolExecutor(jobs + 1)

    def __enter__(self) -> Crew:
        first, *others = self._connections
        self._feeding = self._threads.submit(self._fill, first)
        self._working = [self._threads.submit(self._work, connection) for connection in others]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        """Let every call in hand finish, or cancel them when the load ends by an error or Ctrl-C."""
        self._stop.set()
        if kind is not None:
            for connection in self._connections:
                with suppress(psycopg.Error):  # the server may be what has gone
                    connection.cancel_safe(timeout=RETRY_S)
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    def still_filling(self) -> bool:
        """Whether more may arrive. Raises what has stopped any of the threads."""
        for future in (self._feeding, *self._working):
            if future.done():
                future.result()
        return not (self._feeding.done() and self.arrivals.empty())

    def _fill(self, connection: Connection) -> None:
        for batch in self._feed(connection):
            self.arrivals.put(batch)
            if self._stop.is_set():
                return

    def _work(self, connection: Connection) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                connection.execute("call cad.ingest_pending(max_rows => %s)", [CALL_ROWS])
            except psycopg.OperationalError as error:
                if self._stop.is_set():
                    return
                if connection.closed or error.sqlstate not in SERVICE_AWAY:
                    raise
                self._patience.away(error)
                self._stop.wait(RETRY_S)
            else:
                self._patience.answered()
                self._stop.wait(max(0.0, PAUSE_S - (time.monotonic() - started)))
