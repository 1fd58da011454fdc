"""The KiCad models of a split file, and generated standard parts, as a dataset."""

from __future__ import annotations

import random
from pathlib import Path

from pgcad.corpus.captions import full_text, texts_of, training_rows
from pgcad.corpus.kicad import prepare_rows, prepared_rows
from pgcad.corpus.parts import Part
from pgcad.corpus.split import Row, read_split
from pgcad.corpus.standard_parts import prepare_standard_parts
from pgcad.corpus.translation import GlossaryTranslator, Translator
from pgcad.training.dataset import Dataset, Query

_DISTRACTORS = 1000


def kicad_dataset(
    split: Path, models: Path, translator: Translator, cache: Path, workers: int, seed: int, only_prepared: bool
) -> Dataset:
    """Prepare what is not; train on the rows `train` and on standard parts, validate on the captions of `val`."""
    rows = [row for row in read_split(split) if row.split in ("train", "val")]
    folder = prepare_rows(rows, models, cache, workers, only_prepared)
    rows = prepared_rows(rows, folder)
    learned = training_rows(rows)
    translated = _translated(learned, translator)
    training = [
        Part(
            folder,
            row.path,
            tuple(texts_of(row, random.Random(row.path), translated.get(full_text(row)))),
            row.caption or row.path,
            row.family,
        )
        for row in learned
    ]
    training += prepare_standard_parts(cache, workers, only_prepared)
    asked = [row for row in rows if row.split == "val" and row.caption]
    distractors = random.Random(seed).sample(learned, min(_DISTRACTORS, len(learned)))
    return Dataset(
        training,
        [Query(row.caption, row.family) for row in asked],
        [Part(folder, row.path, (), row.caption, row.family) for row in [*asked, *distractors]],
        f"{len(learned)} rows `train` of {split.name}, and {len(training) - len(learned)} standard parts generated "
        f"with bd_warehouse (Apache-2.0). Chinese texts of the rows: {translator.name}.",
    )


def _translated(rows: list[Row], translator: Translator) -> dict[str, str]:
    """Texts in Chinese; none of the glossary, which is looked up anew for every text, so that synonyms take turns."""
    if isinstance(translator, GlossaryTranslator):
        return {}
    texts = list(dict.fromkeys(full_text(row) for row in rows))
    return dict(zip(texts, translator.translate(texts, "zh"), strict=True))
