"""The KiCad models of a split file, and generated standard parts, as a dataset."""

from __future__ import annotations

import random
from pathlib import Path

from pgcad.corpus.captions import texts_of, training_rows
from pgcad.corpus.kicad import prepare_rows, prepared_rows
from pgcad.corpus.parts import Part
from pgcad.corpus.split import read_split
from pgcad.corpus.standard_parts import prepare_standard_parts
from pgcad.training.dataset import Dataset, Query

_DISTRACTORS = 1000


def kicad_dataset(
    split: Path, models: Path, cache: Path, workers: int, seed: int, only_prepared: bool = False
) -> Dataset:
    """Prepare what is not; train on the rows `train` and on standard parts, validate on the captions of `val`."""
    rows = [row for row in read_split(split) if row.split in ("train", "val")]
    folder = prepare_rows(rows, models, cache, workers, only_prepared)
    rows = prepared_rows(rows, folder)
    learned = training_rows(rows)
    training = [
        Part(folder, row.path, tuple(texts_of(row, random.Random(row.path))), row.caption or row.path)
        for row in learned
    ]
    training += prepare_standard_parts(cache, workers, only_prepared)
    asked = [row for row in rows if row.split == "val" and row.caption]
    distractors = random.Random(seed).sample(learned, min(_DISTRACTORS, len(learned)))
    return Dataset(
        training,
        [Query(row.caption, row.family) for row in asked],
        [Part(folder, row.path, (), row.caption) for row in [*asked, *distractors]],
    )
