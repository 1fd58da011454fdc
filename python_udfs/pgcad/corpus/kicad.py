"""The rows of a split file, prepared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pgcad.corpus.records import Source, prepare, record_file
from pgcad.corpus.split import Row


def prepare_rows(rows: Sequence[Row], models: Path, cache: Path, workers: int, only_prepared: bool = False) -> Path:
    """Prepare the rows' models as far as they are not; returns the folder that holds them."""
    folder = cache / "prepared" / "kicad"
    if not only_prepared:
        for key in prepare([Source(models / row.path, row.path) for row in rows], folder, workers):
            print(f"left out, could not be prepared: {key}")
    return folder


def prepared_rows(rows: Sequence[Row], folder: Path) -> list[Row]:
    """The rows that are ready to be used."""
    return [row for row in rows if record_file(folder, row.path).exists()]
