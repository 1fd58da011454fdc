"""The second look at the first hits, as search takes it: how well they fit a cloud is one more score."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pgcad.corpus.records import load_points
from pgcad.evaluation.gallery import Gallery
from pgcad.geometry.registration import fits

LOOKED_AT, FIT_WEIGHT = 10, 8.0
"""What cad._search looks at, and the weight in cad.fusion_weight."""

Job = tuple[NDArray[np.float32], Path, list[str]]


@dataclass(frozen=True)
class SecondLook:
    """Of n questions: scores (n, m) of all parts, columns of the first hits (n, LOOKED_AT) and how well they fit."""

    scores: Tensor
    first: Tensor
    fit: Tensor

    def mixed(self, weight: float = FIT_WEIGHT) -> Tensor:
        """Scores (n, m), with what was not looked at taken to fit as badly as the worst that was."""
        worst = self.fit.amin(1, keepdim=True).expand_as(self.scores)
        return self.scores + weight * worst.scatter(1, self.first, self.fit)


def look_again(scores: Tensor, clouds: Sequence[NDArray[np.float32]], gallery: Gallery, workers: int) -> SecondLook:
    """Lay each of n clouds (2048, 6) on top of the parts that have the best of its scores (n, m)."""
    first = scores.topk(min(LOOKED_AT, scores.shape[1])).indices
    jobs: list[Job] = [
        (cloud, gallery.folder, [gallery.rows[column].path for column in columns])
        for cloud, columns in zip(clouds, first.tolist(), strict=True)
    ]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        found = pool.map(_fits, jobs, chunksize=8)
    return SecondLook(scores, first, torch.from_numpy(np.stack(found)).float())


def _fits(job: Job) -> NDArray[np.float64]:
    cloud, folder, keys = job
    return fits(cloud, [load_points(folder, key) for key in keys])
