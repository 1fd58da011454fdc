"""A vault of a user's own as a dataset: every part file under a folder, with what its sidecars say."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgcad_load.discovery import FORMATS, PartFile, discover, name_of_file
from pgcad_load.display import printable, printable_path

from pgcad.corpus.captions import is_chinese
from pgcad.corpus.metadata_texts import caption_of, chinese_of, series_of, texts_of
from pgcad.corpus.parts import Part
from pgcad.corpus.records import FAILED_FILE, Source, failures, prepare, record_file
from pgcad.corpus.translation import Translator
from pgcad.errors import CadError
from pgcad.training.dataset import Dataset, Query

FEWEST_WITH_TEXT = 20
VALIDATION_SHARE = 0.2
_DISTRACTORS = 1000


@dataclass(frozen=True)
class Entry:
    """A part file that can be read: the key of its record, its metadata, family and series, and its caption."""

    file: PartFile
    key: str
    metadata: Mapping[str, Any]
    caption: str
    family: str
    series: str


def vault_dataset(
    data: Path, metadata: Path | None, file_names: bool, translator: Translator, cache: Path, workers: int
) -> Dataset:
    """Prepare the parts under `data`, with metadata as `pgcad load` finds it (and from the table `metadata`).

    A fifth of the parts with text becomes the validation set, by whole series, chosen by hash: the same in every run.
    `file_names`: whether a file name says what a part is. Raises SidecarError, FileNotFoundError, and CadError 22023
    where there is no part file, none that can be read, or too little text.
    """
    found = discover([data], None, metadata)
    if not found.parts:
        others = ", ".join(f"{number} {suffix or 'without extension'}" for suffix, number in found.other_types.items())
        known = " ".join(FORMATS)
        raise CadError(
            "22023",
            f"no part file under {printable_path(data)}" + (f" (only: {others})" if others else ""),
            f"Give --data a folder that holds files of these types: {known}.",
        )
    folder = cache / "prepared" / "vault"
    entries = [_entry(file, key, file_names) for file, key in _prepared(found.parts, folder, workers)]
    _check_text(entries)
    held_out = validation_series(Counter(entry.series for entry in entries if entry.caption))
    training = [entry for entry in entries if entry.series not in held_out]
    asked = [entry for entry in entries if entry.series in held_out and entry.caption]
    silent = [entry for entry in entries if entry.series in held_out and not entry.caption]
    distractors = sorted(training, key=lambda entry: entry.key)[:_DISTRACTORS]  # by hash: a fair sample
    return Dataset(
        training=_parts(training, folder, translator),
        queries=[Query(entry.caption, entry.family) for entry in asked],
        gallery=[Part(folder, entry.key, (), entry.caption, entry.family) for entry in asked + silent + distractors],
        origin=_origin(entries, translator),
    )


def validation_series(parts_of: Mapping[str, int]) -> set[str]:
    """The series to validate on, of a mapping from series to number of parts with text: a fifth of the parts at most.

    Series are taken in the order of their hashes as long as they fit, so a series stays on its side as a vault grows,
    but for the few at the edge. The smallest of them is taken where none fits.
    """
    room = max(1, round(VALIDATION_SHARE * sum(parts_of.values())))
    in_order = sorted(parts_of, key=lambda series: hashlib.sha256(series.encode()).digest())
    chosen: set[str] = set()
    for series in in_order:
        if parts_of[series] <= room:
            chosen.add(series)
            room -= parts_of[series]
    return chosen or {min(in_order, key=lambda series: parts_of[series])}


def _prepared(files: Sequence[PartFile], folder: Path, workers: int) -> list[tuple[PartFile, str]]:
    """The files that can be read, each content once, with the keys of their records. Raises CadError 22023 for none."""
    keyed = _keyed(files)
    sources = [Source(file.path, key, file.metadata.get("units")) for key, file in keyed.items()]
    prepare(sources, folder, workers)
    reasons = failures(folder)
    failed = {key: reasons.get(key, "not prepared") for key in keyed if not record_file(folder, key).exists()}
    for key, reason in failed.items():
        print(f"left out, cannot be read: {printable_path(keyed[key].path)}: {printable(reason)}", flush=True)
    if len(failed) == len(keyed):
        raise CadError(
            "22023",
            f"none of the {len(files)} part files can be read",
            "The lines above say why. Export one of them from a CAD system again, as STEP where possible. What failed "
            f"once is not tried again: delete {folder / FAILED_FILE} to try all.",
        )
    return [(file, key) for key, file in keyed.items() if key not in failed]


def _keyed(files: Sequence[PartFile]) -> dict[str, PartFile]:
    """Files by what their record depends on: content, format and unit, so a changed file is prepared anew and a moved
    one is not. Of files with equal content the first stays.
    """
    keyed: dict[str, PartFile] = {}
    for file in files:
        if not file.path.is_file():  # opening a pipe would wait for ever
            print(f"left out, not a regular file: {printable_path(file.path)}", flush=True)
            continue
        try:
            with file.path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            print(f"left out, cannot be read: {printable_path(file.path)}: {error.strerror}", flush=True)
            continue
        units = str(file.metadata.get("units", ""))
        keyed.setdefault("-".join(filter(None, (sha256[:32], file.format, units.encode().hex()))), file)
    return keyed


def _entry(file: PartFile, key: str, file_names: bool) -> Entry:
    known = dict(file.metadata)
    if not file_names and known.get("name") == name_of_file(file.path):
        del known["name"]
    family = str(file.metadata["family"])
    return Entry(file, key, known, caption_of(known), family, series_of(known, family, file.path.stem))


def _check_text(entries: Sequence[Entry]) -> None:
    told = [entry for entry in entries if entry.caption]
    hint = (
        "Describe parts in parts.csv beside them (columns file, name, description, tags; see docs/loading.md), or add "
        "--file-names if the file names say what the parts are."
    )
    if len(told) < FEWEST_WITH_TEXT:
        message = f"{len(told)} of {len(entries)} parts have a text; training needs at least {FEWEST_WITH_TEXT}"
        raise CadError("22023", message, hint)
    if len({entry.series for entry in told}) < 2:
        raise CadError(
            "22023",
            f"all {len(told)} parts with text are of one series, {printable(told[0].series)!r}; validation needs two",
            "Give the parts families, or a column `series` in parts.csv.",
        )


def _parts(entries: Sequence[Entry], folder: Path, translator: Translator) -> list[Part]:
    """Training parts; what has a text and no Chinese one gets it from the translator."""
    missing = [entry.caption for entry in entries if entry.caption and not _chinese(entry)]
    translated = dict(zip(missing, translator.translate(missing, "zh"), strict=True))
    return [
        Part(
            folder,
            entry.key,
            texts_of(
                entry.metadata,
                entry.family,
                _chinese(entry) or translated.get(entry.caption, ""),
                random.Random(entry.key),
            ),
            entry.caption or entry.key,
            entry.family,
        )
        for entry in entries
    ]


def _chinese(entry: Entry) -> str:
    return chinese_of(entry.metadata) or (entry.caption if is_chinese(entry.caption) else "")


def _origin(entries: Sequence[Entry], translator: Translator) -> str:
    families = Counter(entry.family for entry in entries)
    formats = Counter(entry.file.format for entry in entries)
    told = sum(bool(entry.caption) for entry in entries)
    kinds = ", ".join(f"{number} {name}" for name, number in sorted(formats.items()))
    return (
        f"{len(entries)} parts of {len(families)} families from a vault ({kinds}), {told} of them with text. Chinese "
        f"where the vault has none: {translator.name}."
    )
