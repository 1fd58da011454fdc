"""How quick the KiCad corpus goes from file to searchable, what memory that takes, and whether every file is accounted
for.

    pgcad up --state /var/cache/pgcad/kicad-db
    python tests/bench/ingest.py --state /var/cache/pgcad/kicad-db --output docs/results/ingest.json

Runs `pgcad load-kicad` on a local cluster, which should be empty for the figure to be of a first load. Memory is the
proportional set size (shared pages counted once) of the encoder service with its workers and, separately, of the
cluster's backends, looked at every few seconds. Fetching the packages is not timed: they are there or are got first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import report
from pgcad.cache import cache_folder
from pgcad_load import cluster, kicad

LOOK_EVERY_S = 5.0


def with_children(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:  # a worker or backend that ended meanwhile
            continue
    return round(total / 2**20, 1)


def load(state: Path, dsn: str, arguments: list[str]) -> dict[str, Any]:
    """Run the loader; rate, exit status and the most memory seen."""
    command = [str(Path(sys.executable).parent / "pgcad"), "load-kicad", "--fail-ok", "--dsn", dsn, *arguments]
    service_pid = int((state / "service.pid").read_text())
    postmaster_pid = int((state / "data/postmaster.pid").read_text().splitlines()[0])
    most_service_mb = most_database_mb = 0.0
    started = time.monotonic()
    with subprocess.Popen(command) as loader:
        while loader.poll() is None:
            most_service_mb = max(most_service_mb, pss_mb(with_children(service_pid)))
            most_database_mb = max(most_database_mb, pss_mb(with_children(postmaster_pid)))
            time.sleep(LOOK_EVERY_S)
    return {
        "exit_status": loader.returncode,
        "elapsed_s": round(time.monotonic() - started, 1),
        "service_and_workers_pss_mb": most_service_mb,
        "database_pss_mb": most_database_mb,
    }


def account(dsn: str) -> dict[str, Any]:
    """What became of the files: of the queue by state, of the catalogue by what search may use."""
    with psycopg.connect(dsn) as db:
        queue = dict(db.execute("select coalesce(outcome, state), count(*) from cad.ingest group by 1").fetchall())
        failed = db.execute(
            "select source_uri, last_error from cad.ingest where state = 'failed' order by 1"
        ).fetchall()
        [(parts,)] = db.execute("select count(*) from cad.model")
        [(searchable,)] = db.execute("select count(*) from cad.space_cad")
        [(size_mb,)] = db.execute("select pg_database_size(current_database()) >> 20")
    return {
        "queue": queue, "failed": failed, "parts": parts, "searchable": searchable, "database_size_mb": size_mb
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder of a running local cluster (pgcad up)")
    parser.add_argument("--cache", type=Path, default=cache_folder())
    parser.add_argument("--output", type=Path)
    parser.add_argument("loader", nargs=argparse.REMAINDER, help="further options of pgcad load-kicad, after --")
    arguments = parser.parse_args()

    files = len(kicad.part_files(kicad.fetch(arguments.cache)))
    dsn = cluster.dsn(arguments.state)
    options = ["--cache", str(arguments.cache), *(word for word in arguments.loader if word != "--")]
    before = sum(account(dsn)["queue"].values())
    loaded = load(arguments.state, dsn, options)
    accounted = account(dsn)
    result = {
        **report.circumstances(),
        "files": files,
        "accounted_before": before,
        "files_per_s": round((files - before) / loaded["elapsed_s"], 2),
        **loaded,
        **accounted,
    }
    report.write(result, arguments.output)


if __name__ == "__main__":
    main()
