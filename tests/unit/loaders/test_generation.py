"""Standard parts are built in processes; one that cannot be built, or crashes its process, costs only itself."""

from __future__ import annotations

from pathlib import Path

from pgcad_load.discovery import PartFile
from pgcad_load.generation import generate
from pgcad_load.ingest_queue import Unreadable
from standard_part_doubles import box, crash, part, refuse


def test_a_part_that_cannot_be_built_is_listed_in_its_place(tmp_path: Path) -> None:
    parts = [part("a", box), part("b", refuse), part("c", crash), part("d", box)]
    results = list(generate(parts, tmp_path, jobs=2))
    assert [(type(result), result.path.stem) for result in results] == [
        (PartFile, "a"), (Unreadable, "b"), (Unreadable, "c"), (PartFile, "d"),
    ]  # fmt: skip
    assert [result.reason for result in results if isinstance(result, Unreadable)] == [
        "could not be built: no such thread",
        "could not be built: its process crashed",
    ]


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    list(generate([part("a", box)], tmp_path, jobs=1))
    [again] = generate([part("a", refuse)], tmp_path, jobs=1)
    assert isinstance(again, PartFile)
