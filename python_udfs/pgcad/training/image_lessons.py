"""The lessons of the image tower, before the others join it; what it has learned is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pgcad.corpus.parts import Part
from pgcad.corpus.records import load_points
from pgcad.corpus.twins import twin_labels
from pgcad.encoders.checkpoint import state_sha256
from pgcad.encoders.image import ImageTower
from pgcad.training.image import Album, ImageOptions, ImageStudent, begin_classes, train_images
from pgcad.training.pictures import load_pictures
from pgcad.training.towers import load_tower

_SIDE = 160  # of the pictures; with those of 224 that are asked later, there is time for half as many lessons


def taught_image_tower(
    parts: Sequence[Part],
    start: Mapping[str, Mapping[str, Tensor]] | None,
    cache: Path,
    seed: int,
    minutes: float,
    workers: int,
) -> ImageTower:
    """The image tower after `minutes` of lessons, counting those before, which `cache` keeps.

    It begins with the weights `start` (by tower), or with ImageNet's. Raises CadError 55000 for weights
    that do not fit.
    """
    student = ImageStudent(len(parts))
    if start is not None:
        load_tower(student.tower, "image", start)
    if not minutes:
        return student.tower.eval()
    known = "\n".join([part.key for part in parts] + ([state_sha256(student.tower)] if start is not None else []))
    digest = hashlib.sha256(known.encode()).hexdigest()[:12]
    file = cache / "image-tower" / f"{digest}-{seed}.pt"
    had = _restore(file, student)
    if had < minutes:
        album = Album(
            load_pictures(parts, _SIDE, file.with_name(f"{digest}.pictures"), workers),
            torch.from_numpy(twin_labels([load_points(part.folder, part.key) for part in parts])),
        )
        if not had:
            begin_classes(student, album)
        options = ImageOptions(seed=seed, minutes=minutes)
        train_images(student, album, options, had, lambda so_far: _store(file, student, so_far))
    return student.tower.eval()


def _restore(file: Path, student: ImageStudent) -> float:
    """Minutes of lessons that the student had."""
    if not file.exists():
        return 0.0
    state: dict[str, Any] = torch.load(file, weights_only=True)
    student.load_state_dict(state["student"])
    return float(state["minutes"])


def _store(file: Path, student: ImageStudent, minutes: float) -> None:
    partial = file.with_suffix(".partial")
    torch.save({"student": student.state_dict(), "minutes": minutes}, partial)
    partial.rename(file)
