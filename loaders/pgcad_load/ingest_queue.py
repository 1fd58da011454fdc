"""Files into `cad.ingest`: binary COPY into a temporary table, then an insert that skips what is queued already."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgcad.geometry.limits import MAX_FILE_BYTES
from psycopg.types.json import Jsonb

from pgcad_load.connection import Connection
from pgcad_load.discovery import PartFile

BATCH_BYTES = 64 * 2**20
BATCH_FILES = 1000


@dataclass(frozen=True)
class Content:
    """A part file with its bytes."""

    part: PartFile
    data: bytes
    sha256: bytes

    @property
    def key(self) -> tuple[str, bytes]:
        return self.part.source_uri, self.sha256


@dataclass(frozen=True)
class QueueRow:
    """A row of `cad.ingest` and its state: pending, done or failed."""

    ingest_id: int
    state: str


@dataclass(frozen=True)
class Unreadable:
    """A file that never reached the queue."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Enqueued:
    """One committed batch: the rows that its files have in the queue, split by whether they were done before."""

    open_ids: list[int]
    done_ids: list[int]
    unreadable: list[Unreadable]


def enqueue(connection: Connection, parts: Iterable[PartFile]) -> Iterator[Enqueued]:
    """Queue `parts` in batches of at most BATCH_BYTES and BATCH_FILES, each its own transaction.

    Bytes that the queue knows under the same URI are not sent again.
    """
    for contents, unreadable in batches(parts):
        before = _states(connection, contents)
        with connection.transaction():
            _insert(connection, [content for content in contents if content.key not in before])
        after = _states(connection, contents)
        done = {row.ingest_id for key, row in after.items() if key in before and before[key].state == "done"}
        ids = {row.ingest_id for row in after.values()}
        yield Enqueued(sorted(ids - done), sorted(done), unreadable)


def pending(connection: Connection) -> Iterator[Enqueued]:
    """Every row that waits in the queue now, whoever put it there."""
    rows = connection.execute("select ingest_id from cad.ingest where state = 'pending' order by ingest_id")
    yield Enqueued([ingest_id for (ingest_id,) in rows], [], [])


def batches(
    parts: Iterable[PartFile], max_bytes: int = BATCH_BYTES, max_files: int = BATCH_FILES
) -> Iterator[tuple[list[Content], list[Unreadable]]]:
    """Read `parts` into batches bounded by bytes and number; a file larger than `max_bytes` is a batch by itself."""
    contents: list[Content] = []
    unreadable: list[Unreadable] = []
    size = 0
    for part in parts:
        read = _read(part)
        if isinstance(read, Unreadable):
            unreadable.append(read)
            continue
        if contents and (size + len(read.data) > max_bytes or len(contents) == max_files):
            yield contents, unreadable
            contents, unreadable, size = [], [], 0
        contents.append(read)
        size += len(read.data)
    if contents or unreadable:
        yield contents, unreadable


def _read(part: PartFile) -> Content | Unreadable:
    try:
        status = part.path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            return Unreadable(part.path, "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            return Unreadable(part.path, f"{status.st_size:,} bytes; the limit is {MAX_FILE_BYTES:,}")
        data = part.path.read_bytes()
    except OSError as error:
        return Unreadable(part.path, error.strerror or str(error))
    return Content(part, data, hashlib.sha256(data).digest())


def _states(connection: Connection, contents: Sequence[Content]) -> dict[tuple[str, bytes], QueueRow]:
    rows = connection.execute(
        """
        select i.source_uri, i.sha256, i.ingest_id, i.state
        from unnest(%s::text[], %s::bytea[]) as mine (source_uri, sha256)
        join cad.ingest as i using (source_uri, sha256)
        """,
        ([content.part.source_uri for content in contents], [content.sha256 for content in contents]),
        binary=True,
    )
    return {(source_uri, bytes(sha256)): QueueRow(ingest_id, state) for source_uri, sha256, ingest_id, state in rows}


def _insert(connection: Connection, contents: Sequence[Content]) -> None:
    """Insert `contents`; in key order, so that two loaders of the same files never wait for each other in a circle."""
    if not contents:
        return
    connection.execute(
        """
        create temporary table incoming (source_uri text, sha256 bytea, format text, content bytea, metadata jsonb)
        on commit drop
        """
    )
    copy_in = "copy incoming (source_uri, sha256, format, content, metadata) from stdin (format binary)"
    with connection.cursor().copy(copy_in) as copy:
        copy.set_types(["text", "bytea", "text", "bytea", "jsonb"])
        for content in contents:
            part = content.part
            copy.write_row((part.source_uri, content.sha256, part.format, content.data, Jsonb(part.metadata)))
    connection.execute(
        """
        insert into cad.ingest (source_uri, sha256, format, content, metadata)
        select source_uri, sha256, format, content, metadata from incoming order by source_uri, sha256
        on conflict (source_uri, sha256) do nothing
        """
    )
