"""The lessons of the image tower, before the others join it; what it has learned is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from pgcad.corpus.parts import Part
from pgcad.corpus.records import load_record
from pgcad.corpus.twins import twin_labels
from pgcad.encoders.image import ImageTower
from pgcad.training.image import Album, ImageOptions, ImageStudent, nearest_views, train_images
from pgcad.training.material import labels
from pgcad.training.pictures import load_pictures


def taught_image_tower(parts: Sequence[Part], cache: Path, seed: int, minutes: float, workers: int) -> ImageTower:
    """The image tower after its own lessons, from the cache where it has had them."""
    if not minutes:
        return ImageStudent().tower.eval()
    digest = hashlib.sha256("\n".join(part.key for part in parts).encode()).hexdigest()[:12]
    file = cache / "image-tower" / f"{digest}-{seed}-{minutes:g}.pt"
    student = ImageStudent()
    if file.exists():
        student.load_state_dict(torch.load(file, weights_only=True))
        return student.tower.eval()
    keys = [part.key for part in parts]
    album = Album(
        load_pictures(parts, file.with_name(f"{digest}.pictures"), workers),
        nearest_views(keys),
        labels([key.partition("/")[0] for key in keys]),
        torch.from_numpy(twin_labels([load_record(part.folder, part.key).points for part in parts])),
    )
    train_images(student, album, ImageOptions(seed=seed, minutes=minutes))
    torch.save(student.state_dict(), file)
    return student.tower.eval()
