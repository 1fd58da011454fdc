"""From the paths of a command line to the part files under them, each with its metadata."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pgcad_load import sidecar
from pgcad_load.display import valid_text
from pgcad_load.sidecar import Metadata

FORMATS: Mapping[str, str] = {
    ".step": "step",
    ".stp": "step",
    ".p21": "step",
    ".stl": "stl",
    ".obj": "obj",
    ".ply": "ply",
    ".glb": "glb",
    ".gltf": "gltf",
    ".3mf": "3mf",
    ".off": "off",
    ".xyz": "xyz",
    ".npy": "npy",
}
SIDECAR_SUFFIXES = frozenset({".csv", ".json"})
UNCLASSIFIED = "unclassified"


@dataclass(frozen=True)
class PartFile:
    """A file to load: where it lies, by what name the database knows it, and what is known about the part."""

    path: Path
    source_uri: str
    format: str
    metadata: Metadata


@dataclass
class Discovery:
    """What lies under the given paths: the parts in order, and what was passed over and why."""

    parts: list[PartFile] = field(default_factory=list)
    other_types: Counter[str] = field(default_factory=Counter)
    named_but_missing: list[Path] = field(default_factory=list)


def discover(paths: Iterable[Path], family: str | None = None, metadata_file: Path | None = None) -> Discovery:
    """Find every part file under `paths`, in a fixed order.

    Metadata, nearest first: `<file>.json`, `metadata_file`, the sidecars of the file's folder, those of the folders
    above it up to the given path. Family: sidecar, else `family`, else the folder that the file lies in when that is
    below the given path, else `unclassified`. Raises FileNotFoundError and SidecarError.
    """
    explicit = sidecar.read_table(metadata_file.resolve()) if metadata_file else {}
    found = Discovery()
    named: dict[Path, Metadata] = dict(explicit)
    seen: set[Path] = set()
    for root in (path.resolve() for path in paths):
        known: dict[Path, Metadata] = {}
        for path in _files(root, known):
            suffix = path.suffix.lower()
            part_format = FORMATS.get(suffix)
            if part_format is None and suffix not in SIDECAR_SUFFIXES:
                found.other_types[suffix] += 1
            if part_format is None or path in seen:
                continue
            seen.add(path)
            metadata = {**known.get(path, {}), **explicit.get(path, {}), **sidecar.read_own(path)}
            metadata.setdefault("name", name_of_file(path))
            metadata.setdefault("family", family or _family_from(path, root))
            found.parts.append(PartFile(path, path.as_uri(), part_format, metadata))
        named.update(known)
    found.named_but_missing = sorted(path for path in named if not path.is_file())
    return found


def _files(root: Path, known: dict[Path, Metadata]) -> Iterator[Path]:
    """Files at or under `root`, sorted; `known` gathers the sidecars on the way down. Hidden folders are left out."""
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such file or folder.")
    if root.is_file():
        known.update({path: row for path, row in sidecar.read_folder(root.parent).items() if path == root})
        yield root
        return
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        sidecar.overlay(known, sidecar.read_folder(Path(folder)))
        yield from (Path(folder, name) for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error


def name_of_file(path: Path) -> str:
    """The name of a part that nothing else names."""
    return " ".join(valid_text(path.stem).split()) or "unnamed"


def _family_from(path: Path, root: Path) -> str:
    return UNCLASSIFIED if path.parent == root or path == root else valid_text(path.parent.name)
