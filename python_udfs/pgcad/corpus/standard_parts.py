"""Generated standard parts with exact captions, so that the space knows bolts and bearings, not only electronics."""

from __future__ import annotations

import random
from pathlib import Path

from pgcad_load.discovery import PartFile
from pgcad_load.generation import generate
from pgcad_load.warehouse import StandardPart, catalogue

from pgcad.corpus.captions import shortened
from pgcad.corpus.parts import Part
from pgcad.corpus.records import Source, prepare, record_file

PARTS = 400


def prepare_standard_parts(cache: Path, workers: int, only_prepared: bool = False) -> list[Part]:
    """The first PARTS parts of the catalogue, all families in turn, prepared like any other file."""
    folder = cache / "prepared" / "standard"
    parts = catalogue()[:PARTS]
    if not only_prepared:
        files = generate(parts, cache / "generated" / "standard", workers)
        built = [file for file in files if isinstance(file, PartFile)]
        keys = [f"{file.path.parent.name}/{file.path.name}" for file in built]
        prepare([Source(file.path, key) for file, key in zip(built, keys, strict=True)], folder, workers)
    named = [(f"{part.family}/{part.part_number}.step", part) for part in parts]
    return [
        Part(folder, key, texts_of(part, random.Random(key)), part.description, part.family)
        for key, part in named
        if record_file(folder, key).exists()
    ]


def texts_of(part: StandardPart, rng: random.Random) -> tuple[str, ...]:
    """TEXTS_PER_PART texts of a catalogue entry, in the order of `captions.texts_of`."""
    return (
        part.description,
        part.name,
        part.name_zh,
        f"{part.name}. {part.description}. {part.description_zh}",
        shortened(f"{part.name}, {part.description}", rng),
        shortened(f"{part.name_zh}，{part.description_zh}", rng),
    )
