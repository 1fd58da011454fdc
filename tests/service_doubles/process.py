"""The real service as a process, around the tiny space and misbehaving geometry jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from pgcad.client import ServiceError, call

TESTS = Path(__file__).parent.parent
TIMEOUT_MS = 60_000
Answer = tuple[dict[str, Any], list[bytes]]


class ServiceProcess:
    """`pgcad serve` with doubles, on a socket in `folder`; returns when it answers."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.path = str(folder / "s")
        self.log = folder / "log"
        self._kept: dict[str, Any] = {}
        environment = {**os.environ, "PGCAD_WORKER_JOBS": "service_doubles.jobs", "PYTHONPATH": str(TESTS)}
        command = [sys.executable, "-m", "service_doubles.serve", "--socket", self.path, *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log)
        eventually(lambda: self.answers() and self.health()["status"] == "ok")

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            self.health()
        except ServiceError:
            return False
        return True

    def health(self) -> dict[str, Any]:
        return self.ask("health")[0]

    def is_busy(self) -> bool:
        health, _ = call(self.path, "health", {}, [], TIMEOUT_MS, lambda: None, {})
        return bool(health["workers"]["busy"])

    def ask(self, op: str, header: dict[str, Any] | None = None, *payloads: bytes) -> Answer:
        return call(self.path, op, header or {}, payloads, TIMEOUT_MS, lambda: None, self._kept)

    def analyse(self, file: bytes) -> dict[str, Any]:
        report: dict[str, Any] = self.ask("analyse", {"format": "step"}, file)[0]["report"]
        return report

    def failure(self, file: bytes) -> ServiceError:
        with pytest.raises(ServiceError) as failed:
            self.analyse(file)
        return failed.value

    def front(self) -> psutil.Process:
        """The process that serves, below its supervisor."""
        [front] = psutil.Process(self.process.pid).children()
        return front

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


def eventually(holds: Callable[[], bool], limit_s: float = 60) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def in_background(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work` in a thread; the function returned waits for what it returned, or for its ServiceError."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)

    def join() -> Any:
        try:
            return future.result(60)
        except ServiceError as error:
            return error

    return join
