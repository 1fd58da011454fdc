"""The lessons of the image tower, before the others join it; what it has learned is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pgcad.corpus.parts import Part
from pgcad.corpus.records import load_record
from pgcad.corpus.twins import twin_labels
from pgcad.encoders.image import ImageTower
from pgcad.training.image import Album, ImageOptions, ImageStudent, nearest_views, train_images
from pgcad.training.material import labels
from pgcad.training.pictures import load_pictures


def taught_image_tower(parts: Sequence[Part], cache: Path, seed: int, minutes: float, workers: int) -> ImageTower:
    """The image tower after `minutes` of its own lessons, counting those before, which `cache` keeps."""
    student = ImageStudent()
    if not minutes:
        return student.tower.eval()
    keys = [part.key for part in parts]
    digest = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:12]
    file = cache / "image-tower" / f"{digest}-{seed}.pt"
    had = _restore(file, student)
    if had < minutes:
        album = Album(
            load_pictures(parts, file.with_name(f"{digest}.pictures"), workers),
            nearest_views(keys),
            labels([key.partition("/")[0] for key in keys]),
            torch.from_numpy(twin_labels([load_record(part.folder, part.key).points for part in parts])),
        )
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
