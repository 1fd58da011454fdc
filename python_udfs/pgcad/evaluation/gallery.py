"""The gallery: every part as the database would hold it, known by its geometry alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.corpus.records import load_points, load_record, load_report
from pgcad.corpus.split import Row
from pgcad.corpus.twins import twin_labels
from pgcad.encoders.fusion import fuse
from pgcad.encoders.space import CadSpace
from pgcad.geometry.brep_graph import NO_FACES
from pgcad.geometry.views import VIEWS

_CHUNK = 32
_CHUNKS_PER_SAVE = 30


@dataclass(frozen=True)
class Gallery:
    """n parts. Vectors made from geometry, none from words: views (n, 10, dim), image, shape, brep, and what texts are
    compared with (n, dim); descriptions as pgcad makes them of nameless parts; `twins` (n,): the same number for parts
    whose surfaces are the same, which no geometry can tell apart; `folder`: where the prepared parts are.
    """

    rows: list[Row]
    views: Tensor
    image: Tensor
    shape: Tensor
    brep: Tensor
    text: Tensor
    descriptions: list[str]
    descriptions_zh: list[str]
    twins: Tensor
    folder: Path

    @property
    def families(self) -> list[str]:
        return [row.family for row in self.rows]

    def queries(self, splits: Sequence[str], captioned: bool = False) -> Tensor:
        """Numbers of the rows of these splits, of all or of those that have a caption."""
        chosen = [i for i, row in enumerate(self.rows) if row.split in splits and (row.caption or not captioned)]
        return torch.tensor(chosen)


def encode_gallery(space: CadSpace, rows: Sequence[Row], folder: Path, cache: Path) -> Gallery:
    """Encode prepared rows as the service does at loading; vectors are kept in `cache` under the space's version."""
    keys = [row.path for row in rows]
    views, shape, brep = _vectors(space, keys, folder, cache / "vectors" / f"{space.version}.npz")
    reports = [load_report(folder, key) for key in keys]
    image = normalize(views.mean(1), dim=1)
    return Gallery(
        list(rows),
        views,
        image,
        shape,
        brep,
        _text(space, image, shape, brep),
        [report["description"] for report in reports],
        [report["description_zh"] for report in reports],
        torch.from_numpy(twin_labels([load_points(folder, key) for key in keys])),
        folder,
    )


def _text(space: CadSpace, image: Tensor, shape: Tensor, brep: Tensor) -> Tensor:
    """What search compares a text with where a part has no words: the supposed text, or else all the rest, fused."""
    supposed = space.suppose_text(image.numpy(), shape.numpy(), brep.numpy())
    return fuse(space.fusion, None, image, shape, brep) if supposed is None else torch.from_numpy(supposed)


def _vectors(space: CadSpace, keys: Sequence[str], folder: Path, store: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors of views (n, 10, dim), shapes and B-reps (n, dim), read from `store` as far as it has them."""
    known = dict(np.load(store)) if store.exists() else {}
    missing = [key for key in keys if key not in known]
    for start in range(0, len(missing), _CHUNK):
        chunk = missing[start : start + _CHUNK]
        records = [load_record(folder, key) for key in chunk]
        pictures = [picture for record in records for picture in record.views(slice(len(VIEWS)))]
        views = space.embed_image(pictures).reshape(len(chunk), len(VIEWS), -1)
        shapes = space.embed_points(np.stack([record.points for record in records]))
        breps = space.embed_brep([record.brep or NO_FACES for record in records])
        for key, of_views, of_shape, of_brep in zip(chunk, views, shapes, breps, strict=True):
            known[key] = np.vstack([of_views, of_shape, of_brep])
        if start // _CHUNK % _CHUNKS_PER_SAVE == _CHUNKS_PER_SAVE - 1 or chunk[-1] == missing[-1]:
            print(f"gallery {start + len(chunk)}/{len(missing)}", flush=True)
            store.parent.mkdir(parents=True, exist_ok=True)
            np.savez(store, **known)
    vectors = torch.from_numpy(np.stack([known[key] for key in keys]))
    return vectors[:, :-2], vectors[:, -2], vectors[:, -1]
