"""How quick `search_cad` is over the parts of a database: warm, cached, in fresh connections and under many at once.

    python tests/bench/search_latency.py --dsn "$(make -s dsn)" --output docs/results/search_latency.json

A query is the description of a part drawn from the database, with a size added so that no two are the same. Every
measure has queries of its own that nobody has asked before, so the service must encode them; `encoded` is the growth
of its count of cache misses meanwhile and proves it. Only the cached measure asks a second time. The seed is random
and recorded; with a --seed that the running service has seen, its cache answers.

The connection string is that of a superuser, as with the local cluster: row level security costs it nothing, and it
may ask the service for its health. Private memory is read from /proc where this process may.
"""

from __future__ import annotations

import argparse
import random
import secrets
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import report
from memory import private_bytes

SEARCH = "select * from cad.search_cad(%s)"
SEARCHES_EACH = 5


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


def new_queries(dsn: str, seed: int) -> Iterator[str]:
    """Descriptions of parts, cut to the length of a query, with a size: as many as wanted, none of them twice."""
    with psycopg.connect(dsn) as db:
        rows = db.execute("select distinct left(coalesce(description, name), 70) from cad.model order by 1").fetchall()
    if not rows:
        sys.exit("the database holds no parts: load some first")
    chance, asked = random.Random(seed), set[str]()
    while True:
        query = f"{chance.choice(rows)[0]}, {chance.uniform(1, 500):.2f} mm"
        if query not in asked:
            asked.add(query)
            yield query


def cache_misses(db: psycopg.Connection[Any]) -> int:
    """How many queries the service has had to encode so far."""
    [(misses,)] = db.execute("select (cad.encoder_health() #>> '{cache,misses}')::int").fetchall()
    return int(misses)


def searches(db: psycopg.Connection[Any], queries: Sequence[str]) -> dict[str, float]:
    """Latencies in one connection, and how many queries the service encoded for them."""
    before = cache_misses(db)
    times_ms = [search_ms(db, query) for query in queries]
    return {**summary(times_ms), "encoded": cache_misses(db) - before}


def warm(dsn: str, queries: Sequence[str]) -> dict[str, Any]:
    """Latency in one connection, the first ten searches left out, and where the time goes."""
    with psycopg.connect(dsn, autocommit=True) as db:
        searches(db, queries[:10])
        encoded = searches(db, queries[10:])
        before_ms = cpu_ms(db)
        cached = searches(db, queries[10:])
        backend_ms = (cpu_ms(db) - before_ms) / len(queries[10:])
        stages: dict[str, list[float]] = {}
        for query in queries[10:60]:
            for stage, time_ms in db.execute("select stage, elapsed_ms from cad.explain_search(%s)", [query]):
                stages.setdefault(stage, []).append(time_ms)
    return {
        "warm": encoded,
        "warm_cached_query": cached,
        "backend_cpu_per_search_ms": round(backend_ms, 2),
        "stage_median_ms": {stage: round(statistics.median(times), 2) for stage, times in stages.items()},
    }


def first_call(dsn: str, queries: Sequence[str]) -> dict[str, float]:
    """Latency of the first search of a fresh connection, without connecting."""
    times_ms = []
    with psycopg.connect(dsn, autocommit=True) as watcher:
        before = cache_misses(watcher)
        for query in queries:
            with psycopg.connect(dsn, autocommit=True) as db:
                times_ms.append(search_ms(db, query))
        return {**summary(times_ms), "encoded": cache_misses(watcher) - before}


def private_mb(dsn: str, queries: Sequence[str]) -> float | None:
    """Private memory of a backend that has searched; None where /proc does not say."""
    with psycopg.connect(dsn, autocommit=True) as db:
        for query in queries:
            db.execute(SEARCH, [query]).fetchall()
        try:
            return round(private_bytes(db.info.backend_pid) / 2**20, 1)
        except OSError:
            return None


def at_once(dsn: str, sessions: Sequence[Sequence[str]]) -> dict[str, Any]:
    """As many fresh connections as sessions, all searching at the same time: how many failed, and why."""

    def session(queries: Sequence[str]) -> str | None:
        try:
            with psycopg.connect(dsn, autocommit=True) as db:
                for query in queries:
                    db.execute(SEARCH, [query]).fetchall()
        except psycopg.Error as error:
            return str(error)
        return None

    with psycopg.connect(dsn, autocommit=True) as watcher, ThreadPoolExecutor(len(sessions)) as pool:
        before, started = cache_misses(watcher), time.perf_counter()
        failures = [failure for failure in pool.map(session, sessions) if failure is not None]
        elapsed_s = time.perf_counter() - started
        encoded = cache_misses(watcher) - before
    return {
        "connections": len(sessions), "searches_each": SEARCHES_EACH, "errors": len(failures),
        "messages": sorted(set(failures))[:5], "elapsed_s": round(elapsed_s, 2), "encoded": encoded,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="of an earlier result, to repeat it")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    supply = new_queries(arguments.dsn, arguments.seed)

    def take(count: int) -> list[str]:
        return list(islice(supply, count))

    with psycopg.connect(arguments.dsn) as db:
        [(parts, server)] = db.execute("select count(*), current_setting('server_version') from cad.model").fetchall()
    result = {
        **report.circumstances(arguments.dsn),
        "postgresql": server,
        "parts": parts,
        "seed": arguments.seed,
        **warm(arguments.dsn, take(arguments.queries)),
        "first_call_in_fresh_connection": first_call(arguments.dsn, take(40)),
        "private_memory_per_connection_mb": private_mb(arguments.dsn, take(20)),
        "at_once": at_once(arguments.dsn, [take(SEARCHES_EACH) for _ in range(arguments.connections)]),
    }
    report.write(result, arguments.output)


if __name__ == "__main__":
    main()
