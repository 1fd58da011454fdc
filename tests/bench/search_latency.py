"""How quick `search_cad` is over the parts of a database: warm, cached, in fresh connections and under many at once.

    python tests/bench/search_latency.py --dsn "$(make -s dsn)" --output docs/results/search_latency.json

Queries are the descriptions of parts drawn from the database, each asked once (so the service must encode it), then
the same again (answered from its cache). Private memory is read from /proc where this process may.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

SEARCH = "select * from cad.search_cad(%s)"


def search_ms(db: psycopg.Connection[Any], query: str) -> float:
    """Time from sending a search to having its hits."""
    started = time.perf_counter()
    db.execute(SEARCH, [query]).fetchall()
    return 1000 * (time.perf_counter() - started)


def cpu_ms(db: psycopg.Connection[Any]) -> float:
    """Processor time that the backend has used so far: unlike latency, little disturbed by a busy machine."""
    return int(Path(f"/proc/{db.info.backend_pid}/schedstat").read_text().split()[0]) / 1e6


def summary(times_ms: Sequence[float]) -> dict[str, float]:
    """Percentiles of latencies."""
    cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
    return {"n": len(times_ms), **{f"p{q}_ms": round(cuts[q - 1], 2) for q in (50, 95, 99)}}


def sample_queries(dsn: str, count: int, seed: int) -> list[str]:
    """Different descriptions of parts, cut to the length of a query."""
    with psycopg.connect(dsn) as db:
        rows = db.execute("select distinct left(coalesce(description, name), 80) from cad.model order by 1").fetchall()
    queries = [text for (text,) in rows]
    random.Random(seed).shuffle(queries)
    return queries[:count]


def warm(dsn: str, queries: Sequence[str]) -> dict[str, Any]:
    """Latency in one connection, and where the time goes."""
    with psycopg.connect(dsn, autocommit=True) as db:
        for query in queries[:10]:
            db.execute(SEARCH, [query]).fetchall()
        encoded = [search_ms(db, query) for query in queries[10:]]
        before_ms = cpu_ms(db)
        cached = [search_ms(db, query) for query in queries[10:]]
        backend_ms = (cpu_ms(db) - before_ms) / len(cached)
        stages: dict[str, list[float]] = {}
        for query in queries[10:60]:
            for stage, time_ms in db.execute("select stage, elapsed_ms from cad.explain_search(%s)", [query]):
                stages.setdefault(stage, []).append(time_ms)
    return {
        "warm": summary(encoded),
        "warm_cached_query": summary(cached),
        "backend_cpu_per_search_ms": round(backend_ms, 2),
        "stage_median_ms": {stage: round(statistics.median(times), 2) for stage, times in stages.items()},
    }


def first_call(dsn: str, queries: Sequence[str]) -> dict[str, float]:
    """Latency of the first search of a fresh connection, without connecting."""
    times = []
    for query in queries:
        with psycopg.connect(dsn, autocommit=True) as db:
            times.append(search_ms(db, query))
    return summary(times)


def private_mb(dsn: str, queries: Sequence[str]) -> float | None:
    """Private memory of a backend that has searched; None where /proc does not say.

    Pages of private mappings that no other process shares. Shared buffers that only this backend has touched so far
    also count as private in /proc/PID/smaps_rollup, hence smaps and the permissions of each mapping.
    """
    with psycopg.connect(dsn, autocommit=True) as db:
        for query in queries:
            db.execute(SEARCH, [query]).fetchall()
        try:
            lines = Path(f"/proc/{db.info.backend_pid}/smaps").read_text().splitlines()
        except OSError:
            return None
    private_kb, of_private_mapping = 0, False
    for line in lines:
        name, *values = line.split()
        if name.startswith("Private_") and of_private_mapping:
            private_kb += int(values[0])
        elif not name.endswith(":"):  # "address-address rwxp …" opens a mapping
            of_private_mapping = values[0].endswith("p")
    return round(private_kb / 1024, 1)


def at_once(dsn: str, queries: Sequence[str], connections: int) -> dict[str, Any]:
    """As many fresh connections as asked, all searching at the same time: how many failed, and why."""

    def session(number: int) -> str | None:
        try:
            with psycopg.connect(dsn, autocommit=True) as db:
                for query in queries[number % len(queries) :][:5]:
                    db.execute(SEARCH, [query]).fetchall()
        except psycopg.Error as error:
            return str(error)
        return None

    with ThreadPoolExecutor(connections) as pool:
        started = time.perf_counter()
        failures = [failure for failure in pool.map(session, range(connections)) if failure is not None]
    return {
        "connections": connections, "searches_each": 5, "errors": len(failures), "messages": sorted(set(failures))[:5],
        "elapsed_s": round(time.perf_counter() - started, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    queries = sample_queries(arguments.dsn, arguments.queries, arguments.seed)
    with psycopg.connect(arguments.dsn) as db:
        [(parts, server)] = db.execute("select count(*), current_setting('server_version') from cad.model").fetchall()
    result = {
        "command": shlex.join(["python", *("DSN" if word == arguments.dsn else word for word in sys.argv)]),
        "date": datetime.now(UTC).date().isoformat(),
        "cpu_count": os.cpu_count(),
        "load_average_1min": os.getloadavg()[0],
        "postgresql": server,
        "parts": parts,
        **warm(arguments.dsn, queries),
        "first_call_in_fresh_connection": first_call(arguments.dsn, queries[:40]),
        "private_memory_per_connection_mb": private_mb(arguments.dsn, queries[:20]),
        "at_once": at_once(arguments.dsn, queries, arguments.connections),
    }
    text = json.dumps(result, indent=2) + "\n"
    if arguments.output:
        arguments.output.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
