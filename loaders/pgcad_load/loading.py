"""One load: fill the queue, see every file of it through, and show how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from urllib.parse import unquote

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pgcad_load.connection import Connection, connect
from pgcad_load.crew import Crew, Feed, Patience
from pgcad_load.display import console, printable, printable_path
from pgcad_load.ingest_queue import Enqueued

POLL_S = 0.5


@dataclass(frozen=True)
class Options:
    """How to load: the database, how many connections work, and how long to wait for a service that is away."""

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

    @property
    def total(self) -> int:
        """Files that this load has to see through."""
        return max(self.expected - self.already, self.finished + len(self.open_ids))

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


def run(feed: Feed, expected: int, options: Options) -> Tally:
    """Queue what `feed` yields and see it through. Raises LoadError and psycopg.Error."""
    tally, patience = Tally(expected), Patience(options.wait_s)
    with connect(options.dsn) as watcher, _progress() as progress:
        if options.retry_failed:
            watcher.execute("select cad.retry_failed()")
        bar = progress.add_task("loading", total=expected, failed=0)
        with Crew(feed, options.dsn, options.jobs, patience) as crew:
            while crew.still_filling() or tally.open_ids:
                while not crew.arrivals.empty():
                    tally.arrive(crew.arrivals.get())
                tally.settle(watcher)
                progress.update(
                    bar,
                    completed=tally.finished,
                    total=tally.total,
                    failed=len(tally.failures),
                    description=patience.message or "loading",
                )
                time.sleep(POLL_S if tally.open_ids else 0.05)
    return tally


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
