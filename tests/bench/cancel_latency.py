"""How soon a cancel and a statement_timeout take effect in every function that waits for the encoder service.

    python tests/bench/cancel_latency.py --dsn "$(make -s dsn)" --output docs/results/cancel_latency.json

The service is one that takes the connection and never answers. Needs a superuser, who may point the session at it;
one row is put into the queue and taken out again.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import report
from psycopg import sql

POINTS = "(select array_agg(array[i, i * i, 1]::real[]) from generate_series(1, 50) as i)"
CALLS = [
    "select * from cad.search_cad('M8 flange bolt')",
    "select * from cad.search_cad_image('picture')",
    "select * from cad.search_cad_shape('file', 'step')",
    f"select * from cad.search_cad_points({POINTS})",
    "select * from cad.search_cad_multi('bolt', 'picture', 'file', 'step')",
    "select * from cad.explain_search('M8 flange bolt')",
    "select cad.embed_text('bolt')",
    "select cad.embed_image('picture')",
    f"select cad.embed_points({POINTS})",
    "select cad.embed_shape('file', 'step')",
    "select * from cad.embed_texts(array['bolt', 'nut'])",
    "select * from cad.embed_images(array['picture']::bytea[])",
    "select cad.encoder_health()",
    "select * from cad.doctor()",
    "call cad.ingest_pending()",
]
HEADSTART_S = 0.5


@contextmanager
def silent_service() -> Iterator[Path]:
    """A socket that accepts everyone and never says a word."""
    with tempfile.TemporaryDirectory(prefix="pgcad-silent-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "encoder.sock"
        listener.bind(str(path))
        Path(folder).chmod(0o755)
        path.chmod(0o777)  # the server may run as another user
        listener.listen(64)
        accepted = []

        def accept() -> None:
            while True:
                accepted.append(listener.accept())

        threading.Thread(target=accept, daemon=True).start()
        yield path


def overshoot_ms(db: psycopg.Connection[Any], call: str, stop: Callable[[], float]) -> float | None:
    """Time from when the statement was to stop until it had; None where it ended by itself before that.

    `stop` arranges the end of the next statement and returns when that will be, on the monotonic clock.
    """
    deadline = stop()
    try:
        db.execute(call.encode())
    except psycopg.errors.QueryCanceled:
        return round(1000 * (time.monotonic() - deadline), 1)
    except psycopg.Error as error:
        sys.exit(f"{call}: {error}")
    return None


def by_cancel(db: psycopg.Connection[Any], call: str) -> float | None:
    def stop() -> float:
        threading.Timer(HEADSTART_S, db.cancel).start()
        return time.monotonic() + HEADSTART_S

    return overshoot_ms(db, call, stop)


def by_statement_timeout(db: psycopg.Connection[Any], call: str) -> float | None:
    def stop() -> float:
        db.execute(sql.SQL("set statement_timeout = {}").format(int(1000 * HEADSTART_S)))
        return time.monotonic() + HEADSTART_S

    try:
        return overshoot_ms(db, call, stop)
    finally:
        db.execute("reset statement_timeout")


def measure(dsn: str, socket_path: Path, repeats: int) -> dict[str, dict[str, float | None]]:
    """Worst overshoot of every call, by either way of stopping it."""
    worst: dict[str, dict[str, float | None]] = {}
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(sql.SQL("set pgcad.socket = {}").format(str(socket_path)))
        queued = db.execute(
            "insert into cad.ingest (source_uri, format, content, sha256)"
            " values ('cancel_latency', 'step', 'never read', '') returning ingest_id"
        ).fetchone()
        try:
            for call in CALLS:
                for name, way in (("cancel_ms", by_cancel), ("statement_timeout_ms", by_statement_timeout)):
                    times = [way(db, call) for _ in range(repeats)]
                    known = [time_ms for time_ms in times if time_ms is not None]
                    worst.setdefault(call, {})[name] = max(known, default=None)
        finally:
            db.execute("delete from cad.ingest where ingest_id = %s", queued)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with silent_service() as socket_path:
        worst = measure(arguments.dsn, socket_path, arguments.repeats)
    known = [time_ms for times in worst.values() for time_ms in times.values() if time_ms is not None]
    result = {
        **report.circumstances(arguments.dsn),
        "repeats": arguments.repeats,
        "worst_ms": max(known),
        "worst_per_call": worst,
    }
    report.write(result, arguments.output)


if __name__ == "__main__":
    main()
