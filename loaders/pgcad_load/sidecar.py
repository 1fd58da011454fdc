"""Metadata that lies beside the files: `parts.csv` or `parts.json` in a folder, `<file>.json` next to a file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pgcad_load.display import printable, printable_path, valid_text

FOLDER_SIDECARS = ("parts.csv", "parts.json")
NUMBERS = frozenset({"mass_kg", "density_kg_m3"})
TAG_SEPARATOR = ";"

Metadata = dict[str, Any]


class SidecarError(ValueError):
    """A sidecar that cannot be used; the message names the file, the row and what to change."""


def read_folder(folder: Path) -> dict[Path, Metadata]:
    """Metadata of the files that the sidecars of `folder` name, `parts.json` over `parts.csv`."""
    table: dict[Path, Metadata] = {}
    for name in FOLDER_SIDECARS:
        if (folder / name).is_file():
            overlay(table, read_table(folder / name))
    return table


def overlay(table: dict[Path, Metadata], nearer: Mapping[Path, Metadata]) -> None:
    """Lay `nearer` over `table`, key by key."""
    for path, metadata in nearer.items():
        table[path] = {**table.get(path, {}), **metadata}


def read_table(path: Path) -> dict[Path, Metadata]:
    """Rows of a CSV or JSON table; its `file` column is relative to the table's own folder.

    CSV: a header line, tags separated by semicolons, empty cells left out. JSON: a list of objects with a key `file`,
    or an object from file to metadata. Raises SidecarError.
    """
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    table: dict[Path, Metadata] = {}
    for number, row in rows:
        where = f"{printable_path(path)}, row {number}"
        file = row.pop("file", None)
        if not isinstance(file, str) or not file:
            raise SidecarError(f"{where}: no file name. Give each row a column `file`, relative to {path.parent}.")
        table[Path(os.path.normpath(path.parent / file))] = _typed(row, where)
    return table


def read_own(path: Path) -> Metadata:
    """Metadata in `<file>.json` next to `path`, empty when there is none. Raises SidecarError."""
    sidecar = path.with_name(path.name + ".json")
    if not sidecar.is_file():
        return {}
    row = _json(sidecar)
    if not isinstance(row, dict):
        raise SidecarError(f"{printable_path(sidecar)}: expected one JSON object with the metadata of {path.name}.")
    return _typed(row, printable_path(sidecar))


def _csv_rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey="", restval="")
            if "file" not in (reader.fieldnames or ()):
                raise SidecarError(f"{printable_path(path)}: no column `file` in the header line.")
            for row in reader:
                if "" in row:
                    raise SidecarError(
                        f"{printable_path(path)}, line {reader.line_num}: more cells than the header has columns. "
                        "Quote cells that contain a comma."
                    )
                yield reader.line_num, {key: value for key, value in row.items() if value != ""}
    except (OSError, UnicodeError, csv.Error) as error:
        raise SidecarError(f"{printable_path(path)}: {error}. Save it as CSV in UTF-8.") from error


def _json_rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    document = _json(path)
    rows = [{**row, "file": file} for file, row in document.items()] if _is_mapping_of_rows(document) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SidecarError(
            f"{printable_path(path)}: expected a list of objects with a key `file`, or an object from file to metadata."
        )
    return ((number, dict(row)) for number, row in enumerate(rows, start=1))


def _is_mapping_of_rows(document: Any) -> bool:
    return isinstance(document, dict) and all(isinstance(row, dict) for row in document.values())


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SidecarError(f"{printable_path(path)}: {error}. Save it as JSON in UTF-8.") from error


def _typed(row: Mapping[str, Any], where: str) -> Metadata:
    """`row` with numbers as numbers, tags as a list, and text that a database can store."""
    metadata: Metadata = {}
    for key, value in row.items():
        if value is None or value == "":
            continue
        if key in NUMBERS:
            metadata[key] = _number(value, f"{where}: {key}")
        elif key == "tags":
            metadata[key] = _tags(value, where)
        else:
            metadata[valid_text(key)] = _storable(value)
    return metadata


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SidecarError(f"{where} is {printable(repr(value))}, not a number.") from error
    if not 0 < number < float("inf"):
        raise SidecarError(f"{where} is {number}; it must be a positive, finite number.")
    return number


def _tags(value: Any, where: str) -> list[str]:
    tags = value.split(TAG_SEPARATOR) if isinstance(value, str) else value
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise SidecarError(f"{where}: tags must be a list of texts, or one text separated by semicolons.")
    return [valid_text(tag).strip() for tag in tags if tag.strip()]


def _storable(value: Any) -> Any:
    """`value` without the characters that jsonb refuses, however deep."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {valid_text(key): _storable(item) for key, item in value.items()}
    return value
