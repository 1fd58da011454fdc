"""Parts of a catalogue as STEP files in a folder; what is there already is not built again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from build123d import Shape, export_step

from pgcad_load.discovery import PartFile
from pgcad_load.ingest_queue import Unreadable
from pgcad_load.warehouse import StandardPart

TIMESTAMP = "2026-01-01T00:00:00"  # fixed, so that a part of one body is always the same bytes


def generate(parts: Sequence[StandardPart], folder: Path, jobs: int) -> Iterator[PartFile | Unreadable]:
    """Build `parts` as `folder`/family/part_number.step in `jobs` processes; yields them in order.

    A part that crashes its process is built once more, alone, to be sure that it is the one.
    """
    done = 0
    while done < len(parts):
        try:
            for result in _in_processes(parts[done:], folder, jobs):
                yield result
                done += 1
        except BrokenProcessPool:
            yield _alone(parts[done], folder)
            done += 1


def _alone(part: StandardPart, folder: Path) -> PartFile | Unreadable:
    try:
        return next(_in_processes([part], folder, jobs=1))
    except BrokenProcessPool:
        return Unreadable(_file_of(part, folder), "could not be built: its process crashed")


def _in_processes(parts: Sequence[StandardPart], folder: Path, jobs: int) -> Iterator[PartFile | Unreadable]:
    context = multiprocessing.get_context("spawn")  # OpenCASCADE's threads do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=context) as processes:
        yield from processes.map(_generate_one, parts, [folder] * len(parts), chunksize=8)


def _file_of(part: StandardPart, folder: Path) -> Path:
    return folder / part.family / f"{part.part_number}.step"


def write_step(shape: Shape, path: Path) -> None:
    """Write `shape` in mm, complete or not at all. Raises RuntimeError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    if not export_step(shape, partial, write_pcurves=False, timestamp=TIMESTAMP):
        raise RuntimeError("OpenCASCADE could not write the STEP file")
    partial.rename(path)


def _generate_one(part: StandardPart, folder: Path) -> PartFile | Unreadable:
    path = _file_of(part, folder)
    if not path.is_file():
        try:
            shape = part.build()
            shape.label = part.part_number
            write_step(shape, path)
        except Exception as error:  # a part that the library cannot build is listed; the others go on
            return Unreadable(path, f"could not be built: {error}")
    return PartFile(path, f"warehouse:{part.family}/{path.name}", "step", part.metadata)
