"""The second look at the first hits of a picture, as search takes it: its outline is compared with the silhouettes of
many parts, and with finer ones of those that are best by then.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pgcad.corpus.records import load_points
from pgcad.evaluation.gallery import Gallery
from pgcad.evaluation.second_look import FIT_WEIGHT, SecondLook
from pgcad.geometry.outlines import outline
from pgcad.geometry.silhouettes import overlaps, refined_overlap, silhouettes

COMPARED, REFINED = 200, 40
"""What cad._search and cad._second_look look at."""


@dataclass(frozen=True)
class _Question:
    """A picture, the parts (m,) that are most like it, and their scores (m,)."""

    picture: NDArray[np.uint8]
    parts: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class _Shelf:
    """Where the points of the gallery's parts are, and the file of their silhouettes."""

    folder: Path
    keys: list[str]
    silhouettes: Path


def look_at_outlines(
    scores: Tensor,
    pictures: Sequence[NDArray[np.uint8]],
    gallery: Gallery,
    workers: int,
    weights: Sequence[float] = (FIT_WEIGHT,),
) -> list[SecondLook]:
    """For each weight of the fit, how well each of n pictures agrees with the parts that have the best of its scores
    (n, m). A picture without an outline agrees with all parts alike.
    """
    best = scores.topk(min(COMPARED, scores.shape[1]))
    questions = [
        _Question(picture, parts, some)
        for picture, parts, some in zip(pictures, best.indices.numpy(), best.values.numpy(), strict=True)
    ]
    keys = [row.path for row in gallery.rows]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "silhouettes.npy"
        with context.Pool(workers) as pool:
            jobs = [(gallery.folder, key) for key in keys]
            np.save(file, np.stack(pool.starmap(_silhouettes, jobs, chunksize=64)))
            fits_of = partial(_fits, _Shelf(gallery.folder, keys, file), tuple(weights))
            found = pool.map(fits_of, questions, chunksize=32)
    fits = torch.from_numpy(np.stack(found, 1)).float()
    return [SecondLook(scores, best.indices, fit) for fit in fits]


def _silhouettes(folder: Path, key: str) -> NDArray[np.uint32]:
    return silhouettes(load_points(folder, key))


def _fits(shelf: _Shelf, weights: Sequence[float], question: _Question) -> NDArray[np.float64]:
    """(weights, parts of the question), as cad._second_look has it."""
    asked = outline(question.picture)
    if asked is None:
        return np.zeros((len(weights), len(question.parts)))
    rough, cameras = overlaps(asked, np.load(shelf.silhouettes, mmap_mode="r")[question.parts])
    refined: dict[int, float] = {}
    found = []
    for weight in weights:
        chosen = (-(question.scores + weight * rough)).argsort(kind="stable")[:REFINED]
        for place in chosen.tolist():
            if place not in refined:
                points = load_points(shelf.folder, shelf.keys[question.parts[place]])
                refined[place] = refined_overlap(asked, points, cameras[place])
        fine = np.array([refined[place] for place in chosen.tolist()])
        fits = np.minimum(rough, fine.min())
        fits[chosen] = fine
        found.append(fits)
    return np.stack(found)
