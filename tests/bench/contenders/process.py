"""A contender in a process of its own: nothing that another one loaded, cached or left behind counts for it."""

from __future__ import annotations

import importlib
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from drawn_parts import DrawnParts

from contenders.contender import Contender, Place, Setting, Unavailable

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS")
MODULES = {
    "pgcad": "pgcad", "pgvector": "pgvector", "faiss": "faiss", "hnswlib": "hnswlib", "LanceDB": "lancedb",
    "Chroma": "chroma", "Milvus": "milvus",
}  # fmt: skip


@dataclass
class Round:
    """What was found for each question, and how long it took."""

    found: list[set[int]] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    vector_ms: list[float] = field(default_factory=list)


class Session:
    """What the process does for whoever measures."""

    def __init__(self, name: str, place: Place, drawn: Path) -> None:
        module = importlib.import_module(f"contenders.{MODULES[name.split()[0]]}")
        self._contender: Contender = module.CONTENDERS[name](place)
        self._drawn = drawn
        self._questions = np.load(drawn / "questions.npy")
        self._before_bytes = 0

    def make(self) -> dict[str, Any]:
        """Load, build and settle; what that took and what it left."""
        parts = DrawnParts(np.load(self._drawn / "vectors.npy"), np.load(self._drawn / "masses.npy"))
        asked_before = np.load(self._drawn / "tuning.npy")
        seconds = {}
        for step, do in (
            ("load_s", lambda: self._contender.load(parts)),
            ("build_s", self._contender.build),
            ("settle_s", lambda: self._contender.settle(asked_before)),
        ):
            started = time.perf_counter()
            do()
            seconds[step] = round(time.perf_counter() - started, 2)
        searchable_s = seconds["load_s"] + seconds["build_s"]
        return {
            **seconds, "parts_per_s": round(len(parts.masses) / searchable_s),
            **{f"{what}_mb": round(size / 1e6, 1) for what, size in self._contender.disk_bytes().items()},
            "versions": self._contender.versions(),
        }  # fmt: skip

    def settings(self) -> tuple[list[Setting], list[Setting]]:
        """Those to ask with, and further ones for questions with a filter."""
        return list(self._contender.settings), list(self._contender.filtered_settings)

    def first_answer_s(self) -> float:
        """Seconds from opening to the first answer."""
        started = time.perf_counter()
        self.open()
        list(self._contender.ask(self._questions[0], 1.0))
        return time.perf_counter() - started

    def open(self) -> None:
        self._contender.open()
        self._contender.use(self._contender.settings[0])

    def memory_mb(self) -> float:
        return round(self._contender.memory_bytes() / 1e6, 1)

    def ask(self, setting: Setting, share: float, with_stages: bool) -> Round:
        """All questions with one setting; the first one is asked once more beforehand, as a setting may open anew."""
        self._contender.use(setting)
        list(self._contender.ask(self._questions[0], share))
        asked = Round()
        for question in self._questions:
            started = time.perf_counter()
            found = set(self._contender.ask(question, share))
            asked.times_ms.append(1000 * (time.perf_counter() - started))
            asked.found.append(found)
        # Afterwards: a question that was just asked finds its pages in the caches of the processor.
        told = [self._contender.vector_ms(question, share) for question in self._questions if with_stages]
        asked.vector_ms = [vector_ms for vector_ms in told if vector_ms is not None]
        return asked


class ContenderProcess:
    """Calls the methods of a `Session` in another process; raises Unavailable where it cannot be had."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def call(self, method: str, *arguments: Any) -> Any:
        self._connection.send((method, arguments))
        return self.answer()

    def answer(self) -> Any:
        """What the process says; raises what it raised."""
        failure, answer = self._connection.recv()
        if failure:
            raise failure
        return answer


@contextmanager
def contender_process(name: str, place: Place, drawn: Path) -> Iterator[ContenderProcess]:
    """A process with the contender of that name, which has one thread where it obeys; it ends with the block."""
    ours, theirs = get_context("spawn").Pipe()
    os.environ.update(dict.fromkeys(THREADS, "1"))  # a process that is spawned has them before it loads anything
    process = get_context("spawn").Process(target=_serve, args=(theirs, name, place, drawn))
    process.start()
    theirs.close()
    try:
        contender = ContenderProcess(ours)
        contender.answer()
        yield contender
    finally:
        ours.close()
        process.join(10)
        process.kill()


def _serve(connection: Connection, name: str, place: Place, drawn: Path) -> None:
    session: Any = None
    try:
        session = Session(name, place, drawn)
        connection.send((None, None))
        while True:
            method, arguments = connection.recv()
            connection.send((None, getattr(session, method)(*arguments)))
    except EOFError:
        pass
    except (Unavailable, ImportError) as error:
        connection.send((Unavailable(str(error)), None))
    except Exception:
        connection.send((RuntimeError(f"{name}: {traceback.format_exc()}"), None))
    os._exit(0)  # threads that a library has left do not keep it
