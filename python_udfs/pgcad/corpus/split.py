"""The fixed split of the KiCad models: which rows are for training, for choosing and for reporting."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test", "unseen_family")


@dataclass(frozen=True)
class Row:
    """One model of the split file: its path below the models' folder, and the text its footprints say about it."""

    path: str
    split: str
    series: str
    caption: str
    tags: str

    @property
    def family(self) -> str:
        return self.path.split(".3dshapes/")[0]

    @property
    def name(self) -> str:
        return Path(self.path).stem


def read_split(file: Path) -> list[Row]:
    """Rows of a tab-separated split file with the columns path, split, series, caption and tags.

    Raises ValueError for another split than those of SPLITS, or for a series that lies in two of them.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [Row(**record) for record in csv.DictReader(lines, delimiter="\t")]
    split_of: dict[str, str] = {}
    for row in rows:
        if row.split not in SPLITS:
            raise ValueError(f"{file}: unknown split {row.split!r} of {row.path}; use one of {', '.join(SPLITS)}")
        if split_of.setdefault(row.series, row.split) != row.split:
            raise ValueError(f"{file}: series {row.series!r} is in two splits; keep a series together")
    return rows
