"""The KiCad 6 libraries as Debian packages them: 6,227 STEP models, captioned from the footprints that use them.

Models and footprints: CC-BY-SA 4.0 with the KiCad libraries' exception, by the KiCad libraries' contributors. The files
stay in a cache folder.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pgcad_load.discovery import PartFile

PACKAGES = ("kicad-packages3d", "kicad-footprints")
SHARE = Path("kicad/usr/share/kicad")
FOLDER_SUFFIX = ".3dshapes"
ATTRIBUTION = "KiCad libraries' contributors, CC-BY-SA 4.0 with the KiCad libraries' exception"

_VALUE = r'\s+(?:"((?:[^"\\]|\\.)*)"|([^\s()]+))'
_DESCRIPTION = re.compile(r"\(descr" + _VALUE)
_TAGS = re.compile(r"\(tags" + _VALUE)
_MODEL = re.compile(r"\(model" + _VALUE)
_LINK = re.compile(r"https?://\S+")
_NOISE = re.compile(
    r"[(,]?\s*(?:see )?https?://\S+|,?\s*(?:script[ -])?generated(?: (?:with|using) .*)?$", re.IGNORECASE
)
_MODEL_ROOT = re.compile(r"^\$\{KICAD\d*_3DMODEL_DIR\}/")


class KicadError(Exception):
    """The packages could not be fetched or unpacked; the message says what to do."""


@dataclass(frozen=True)
class Caption:
    """What a footprint says about the model it uses; links and the generator's signature are not description."""

    description: str
    tags: tuple[str, ...]
    datasheet: str


def fetch(cache: Path) -> Path:
    """Download and unpack what `cache` lacks; returns the folder with `3dmodels` and `footprints`. Raises KicadError.

    Each package is unpacked beside its place and moved there when complete, so a stopped run leaves nothing half done.
    """
    for package, folder in zip(PACKAGES, ("3dmodels", "footprints"), strict=True):
        if not (cache / SHARE / folder).is_dir():
            _unpack(_download(package, cache), cache, folder)
    return cache / SHARE


def part_files(share: Path, family: str = "*", hide_captions: bool = False) -> list[PartFile]:
    """Every STEP model under `share`, sorted, whose family matches the glob `family`.

    `hide_captions` leaves out all that names the part (for evaluation by geometry alone).
    """
    captions = {} if hide_captions else read_captions(share / "footprints")
    models = share / "3dmodels"
    return [
        PartFile(
            path=path,
            source_uri=f"kicad:{path.relative_to(models).as_posix()}",
            format="step",
            metadata=(
                {"name": "part"}
                if hide_captions
                else _metadata(path, captions.get(model_key(path.relative_to(models))))
            ),
        )
        for path in sorted(models.glob(f"*{FOLDER_SUFFIX}/*.step"))
        if fnmatchcase(_family(path), family)
    ]


def read_captions(footprints: Path) -> dict[str, Caption]:
    """The longest caption among the footprints that use a model, by model path without its extension."""
    captions: dict[str, Caption] = {}
    for path in sorted(footprints.glob("*.pretty/*.kicad_mod")):
        for model, caption in parse_footprint(path.read_text(encoding="utf-8")):
            if model not in captions or len(caption.description) > len(captions[model].description):
                captions[model] = caption
    return captions


def parse_footprint(text: str) -> Iterator[tuple[str, Caption]]:
    """Models that a `.kicad_mod` file uses (path without root and extension), each with the footprint's caption."""
    description, tags = _first(_DESCRIPTION, text), _first(_TAGS, text)
    caption = Caption(
        description=" ".join(_NOISE.sub("", description).split()).strip(" ,;"),
        tags=tuple(tags.replace(",", " ").split()),
        datasheet=next(iter(_LINK.findall(description)), "").rstrip("),;.]"),
    )
    for match in _MODEL.finditer(text):
        model = _MODEL_ROOT.sub("", _unquoted(match))
        yield model_key(Path(model)), caption


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return " ".join(_unquoted(match).split()) if match else ""


def _unquoted(match: re.Match[str]) -> str:
    quoted, bare = match.groups()
    return re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare


def model_key(model: Path) -> str:
    """What a model and the footprints that use it have in common: folder and stem; some differ in case only."""
    return model.with_suffix("").as_posix().casefold()


def _family(path: Path) -> str:
    return path.parent.name.removesuffix(FOLDER_SUFFIX)


def _metadata(path: Path, caption: Caption | None) -> dict[str, object]:
    metadata: dict[str, object] = {
        "part_number": path.stem,
        "name": path.stem,
        "family": _family(path),
        "attribution": ATTRIBUTION,
    }
    if caption and caption.description:
        metadata["description"] = caption.description
    if caption and caption.tags:
        metadata["tags"] = list(caption.tags)
    if caption and caption.datasheet:
        metadata["datasheet"] = caption.datasheet
    return metadata


def _download(package: str, cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    downloaded = sorted(cache.glob(f"{package}_*.deb"))
    if not downloaded:
        _run(["apt-get", "download", package], cache, f"apt-get could not download {package}; try `apt-get update`")
        downloaded = sorted(cache.glob(f"{package}_*.deb"))
    return downloaded[-1]


def _unpack(archive: Path, cache: Path, folder: str) -> None:
    staging = cache / f".{archive.stem}"
    shutil.rmtree(staging, ignore_errors=True)
    _run(["dpkg", "-x", str(archive), str(staging)], cache, f"{archive} is damaged; delete it and run this again")
    (cache / SHARE).mkdir(parents=True, exist_ok=True)
    (staging / SHARE.relative_to("kicad") / folder).rename(cache / SHARE / folder)
    shutil.rmtree(staging)


def _run(command: list[str], folder: Path, advice: str) -> None:
    try:
        finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise KicadError(f"{command[0]} is not on this machine: load-kicad needs Debian or a derivative.") from error
    if finished.returncode:
        raise KicadError(f"{advice}. It said: {finished.stderr.strip()}")
