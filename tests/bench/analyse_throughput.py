"""Parts per second of the encoder service alone, with the processor time per part and the memory it takes.

    python tests/bench/analyse_throughput.py --socket .pgcad/run/encoder.sock --folder 3dmodels --parts 200 \
        --output docs/results/analyse_throughput.json

Reads STEP files of a folder in a fixed random order. Memory is the proportional set size (shared pages counted once)
of the service and its workers, found by the socket that they hold.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import report
from pgcad.client import ServiceError, call, call_many

TIMEOUT_MS = 300_000


def step_files(folder: Path, parts: int) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".step", ".stp"))
    return random.Random(0).sample(files, min(parts, len(files)))


def service_processes(socket: Path) -> list[psutil.Process]:
    """The process that listens at `socket`, and its workers."""
    for connection in psutil.net_connections("unix"):
        if str(connection.laddr) == str(socket.resolve()) and connection.pid:
            front = psutil.Process(connection.pid)
            return [front, *front.children()]
    raise SystemExit(f"no process of ours listens at {socket}")


def cpu_s(processes: list[psutil.Process]) -> list[float]:
    return [times.user + times.system for times in (process.cpu_times() for process in processes)]


def requests(files: list[Path]) -> Iterator[tuple[str, dict[str, Any], list[bytes]]]:
    for file in files:
        yield "analyse", {"format": "step", "metadata": {"name": file.stem}}, [file.read_bytes()]


def measure(socket: Path, files: list[Path]) -> dict[str, Any]:
    processes = service_processes(socket)
    before, started, failed = cpu_s(processes), time.monotonic(), []
    for index, answer, _ in call_many(str(socket), requests(files), TIMEOUT_MS, lambda: None, {}):
        if isinstance(answer, ServiceError):
            failed.append({"file": files[index].name, "sqlstate": answer.sqlstate, "reason": answer.message})
    seconds = time.monotonic() - started
    front, *workers = (after - earlier for after, earlier in zip(cpu_s(processes), before, strict=True))
    return {
        "parts": len(files),
        "failed": failed,
        "parts_per_s": round(len(files) / seconds, 2),
        "cpu_s_per_part": {"front": round(front / len(files), 3), "workers": round(sum(workers) / len(files), 3)},
        "pss_mb": [process.memory_full_info().pss >> 20 for process in processes],
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "encoder": call(str(socket), "health", {}, [], TIMEOUT_MS, lambda: None, {})[0]["spaces"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=200)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    report.write(measure(arguments.socket, step_files(arguments.folder, arguments.parts)), arguments.output)


if __name__ == "__main__":
    main()
