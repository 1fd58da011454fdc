"""Prepared parts: one small file each with points, pictures and report, made once and resumed after a stop."""

from __future__ import annotations

import hashlib
import io
import json
import math
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgcad.errors import CadError
from pgcad.geometry.brep_graph import BrepGraph
from pgcad.geometry.reading import read
from pgcad.geometry.report import make_report
from pgcad.geometry.views import DRAWING, Look, View, png_bytes, render

RANDOM_LOOKS = 4
VIEWS_PER_LOOK = 4
FILE_CPU_LIMIT_S = 60
_NICENESS = 5
_REPORT_S = 10.0
FAILED_FILE = "failed.tsv"


@dataclass(frozen=True)
class Source:
    """A file to prepare: where it lies, the name of its record in the cache, and the unit of a mesh or a cloud."""

    file: Path
    key: str
    units: str | None = None


@dataclass(frozen=True)
class Record:
    """A prepared part: `points` float32 (2048, 6), mm and unit normals; `pngs`: canonical views, then random ones."""

    points: NDArray[np.float32]
    pngs: list[bytes]
    sha256: str
    report: dict[str, Any]
    """As docs/design.md describes it, of a part without a name."""
    brep: BrepGraph | None

    def views(self, which: slice = slice(None)) -> list[NDArray[np.uint8]]:
        """Pictures (224, 224, 3), RGB."""
        return [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in self.pngs[which]]


@dataclass(frozen=True)
class Shot:
    """Some views in one look."""

    look: Look
    coloured: bool
    views: tuple[View, ...]


def record_file(folder: Path, key: str) -> Path:
    return folder / f"{key}.npz"


def load_record(folder: Path, key: str) -> Record:
    """Read one prepared part."""
    with np.load(record_file(folder, key)) as stored:
        ends = stored["png_ends"].tolist()
        pngs = stored["pngs"].tobytes()
        slices = zip([0, *ends[:-1]], ends, strict=True)
        report = json.loads(stored["report"].tobytes())
        parts = {field.name: stored[f"brep_{field.name}"] for field in fields(BrepGraph) if "brep_grid" in stored}
        brep = BrepGraph(**parts) if parts else None
        return Record(stored["points"], [pngs[start:end] for start, end in slices], str(stored["sha256"]), report, brep)


def load_points(folder: Path, key: str) -> NDArray[np.float32]:
    """The points of a prepared part, without reading the rest of it."""
    with np.load(record_file(folder, key)) as stored:
        points: NDArray[np.float32] = stored["points"]
        return points


def load_report(folder: Path, key: str) -> dict[str, Any]:
    """The report of a prepared part, without reading the rest of it."""
    with np.load(record_file(folder, key)) as stored:
        report: dict[str, Any] = json.loads(stored["report"].tobytes())
        return report


def holds_brep(folder: Path, key: str) -> bool:
    """Whether a prepared part has a boundary representation."""
    with np.load(record_file(folder, key)) as stored:
        return "brep_grid" in stored


def failures(folder: Path) -> dict[str, str]:
    """Keys that could not be prepared, with the reason."""
    file = folder / FAILED_FILE
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return {key: reason for key, _, reason in (line.partition("\t") for line in lines)}


def prepare(
    sources: Sequence[Source], folder: Path, workers: int = 2, cpu_limit_s: int = FILE_CPU_LIMIT_S
) -> list[str]:
    """Prepare what is missing in `folder`, in `workers` niced processes; returns the keys that failed.

    A file that crashes its process or takes more than `cpu_limit_s` of processor time is listed in failed.tsv and not
    tried again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failed = failures(folder)
    todo = [s for s in sources if s.key not in failed and not record_file(folder, s.key).exists()]
    # Shuffled, so that an interrupted run leaves a fair sample.
    random.Random(0).shuffle(todo)
    shares = [todo[worker::workers] for worker in range(workers)]
    context = multiprocessing.get_context("spawn")
    running: dict[int, multiprocessing.process.BaseProcess] = {}
    started = time.monotonic()
    total = len(todo)
    while any(shares) or running:
        for worker, share in enumerate(shares):
            process = running.get(worker)
            if process is not None and process.is_alive():
                continue
            remaining = _remaining(share, folder)
            if process is not None and remaining and process.exitcode != 0:
                _note_failure(folder, remaining[0].key, f"process ended with {process.exitcode}")
                remaining = remaining[1:]
            shares[worker] = remaining
            running.pop(worker, None)
            if remaining:
                running[worker] = context.Process(target=_prepare_share, args=(remaining, folder, cpu_limit_s))
                running[worker].start()
        if running:
            wait([process.sentinel for process in running.values()], _REPORT_S)
        left = sum(len(_remaining(share, folder)) for share in shares)
        rate = (total - left) / (time.monotonic() - started)
        minutes_left = left / rate / 60 if rate else math.inf
        print(f"prepared {total - left}/{total}, {rate:.1f}/s, {minutes_left:.0f} min left", flush=True)
    return sorted(failures(folder).keys() & {source.key for source in sources})


def random_view(rng: random.Random) -> View:
    """From a direction that is uniform on the sphere."""
    return View("random", rng.uniform(0, 360), math.degrees(math.asin(rng.uniform(-1, 1))))


def random_look(rng: random.Random) -> Look:
    """Light from anywhere before the part, and every shade of grey that still shows its faces."""
    light = (rng.uniform(-1.5, 1.5), rng.uniform(-1.0, 1.5), rng.uniform(0.2, 1.0))
    return Look(edges=rng.random() < 0.7, light=light, grey=rng.uniform(0.4, 0.95), ambient=rng.uniform(0.15, 0.5))


def random_shots(key: str) -> list[Shot]:
    """RANDOM_LOOKS shots, fixed by `key`: the first is a drawing, the second in colours."""
    rng = random.Random(key)
    return [
        Shot(
            DRAWING if number == 0 else random_look(rng),
            number == 1,
            tuple(random_view(rng) for _ in range(VIEWS_PER_LOOK)),
        )
        for number in range(RANDOM_LOOKS)
    ]


def _note_failure(folder: Path, key: str, reason: str) -> None:
    with (folder / FAILED_FILE).open("a", encoding="utf-8") as file:
        file.write(f"{key}\t{reason}\n")


def _remaining(share: Sequence[Source], folder: Path) -> list[Source]:
    failed = failures(folder)
    return [source for source in share if source.key not in failed and not record_file(folder, source.key).exists()]


def _prepare_share(sources: Sequence[Source], folder: Path, cpu_limit_s: int) -> None:
    os.nice(_NICENESS)
    for source in sources:
        # No handler: native code never returns to Python to run one, so the signal has to end the process. The clock
        # counts processor time, so that a busy machine fails no file.
        signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
        try:
            _prepare_one(source, folder)
        except CadError as error:
            _note_failure(folder, source.key, error.message)
    signal.setitimer(signal.ITIMER_PROF, 0)


def _prepare_one(source: Source, folder: Path) -> None:
    data = source.file.read_bytes()
    reading = read(data, source.file.suffix[1:].lower(), source.units, with_brep=True)
    pictures = list(render(reading.shape))
    for shot in random_shots(source.key):
        pictures += list(render(reading.shape, shot.views, coloured=shot.coloured, look=shot.look))
    pngs = [png_bytes(picture) for picture in pictures]
    report = make_report(reading, {"name": "part"})
    brep = asdict(reading.brep) if reading.brep else {}
    file = record_file(folder, source.key)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")
    np.savez(
        partial,
        points=reading.points,
        pngs=np.frombuffer(b"".join(pngs), np.uint8),
        png_ends=np.cumsum([len(png) for png in pngs]),
        sha256=np.array(hashlib.sha256(data).hexdigest()),
        report=np.frombuffer(json.dumps(report).encode(), np.uint8),
        **{f"brep_{name}": values for name, values in brep.items()},
    )
    partial.rename(file)
