"""Batches are bounded by bytes and by number, and a bad file costs only itself."""

import hashlib
import os
from pathlib import Path

from pgcad_load.discovery import PartFile
from pgcad_load.ingest_queue import batches


def part(path: Path, size: int | None) -> PartFile:
    if size is not None:
        path.write_bytes(b"x" * size)
    return PartFile(path, path.as_uri(), "stl", {})


def test_a_batch_stays_within_its_bytes_but_takes_one_large_file(tmp_path: Path) -> None:
    sizes = [40, 40, 40, 500, 10, 90]
    parts = [part(tmp_path / f"{number}.stl", size) for number, size in enumerate(sizes)]
    read = [[len(content.data) for content in contents] for contents, _ in batches(parts, max_bytes=100)]
    assert read == [[40, 40], [40], [500], [10, 90]]


def test_a_batch_stays_within_its_number_of_files(tmp_path: Path) -> None:
    parts = [part(tmp_path / f"{number}.stl", 1) for number in range(5)]
    assert [len(contents) for contents, _ in batches(parts, max_files=2)] == [2, 2, 1]


def test_files_are_read_as_the_batch_is_wanted(tmp_path: Path) -> None:
    asked = []

    def parts():  # type: ignore[no-untyped-def]
        for number in range(10):
            asked.append(number)
            yield part(tmp_path / f"{number}.stl", 60)

    next(batches(parts(), max_bytes=100))
    assert asked == [0, 1]


def test_an_unreadable_file_is_listed_and_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "folder.stl"
    folder.mkdir()
    pipe = tmp_path / "pipe.stl"
    os.mkfifo(pipe)
    parts = [part(tmp_path / "gone.stl", None), part(tmp_path / "a.stl", 3)]
    parts += [PartFile(other, other.name, "stl", {}) for other in (folder, pipe)]
    ((contents, unreadable),) = batches(parts)
    assert [content.sha256 for content in contents] == [hashlib.sha256(b"xxx").digest()]
    assert {bad.path.name: bad.reason for bad in unreadable} == {
        "gone.stl": "No such file or directory",
        "folder.stl": "not a regular file",
        "pipe.stl": "not a regular file",
    }


def test_only_unreadable_files_still_make_a_batch(tmp_path: Path) -> None:
    ((contents, unreadable),) = batches([part(tmp_path / "gone.stl", None)])
    assert contents == [] and len(unreadable) == 1
