"""Prepared parts as tensors: what training draws batches from and evaluation encodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.corpus.parts import Part
from pgcad.corpus.records import load_record
from pgcad.corpus.twins import twin_labels
from pgcad.encoders.brep import BrepFeatures, brep_features
from pgcad.encoders.log_grid import log_grid
from pgcad.encoders.shape import SIZE_BINS, SIZE_HIGH_MM, SIZE_LOW_MM, ShapeFeatures, shape_features

_CHUNK = 64
_MAX_TILT_RAD = 0.12
_JITTER = 0.004
_SCAN_SHARE, _SCAN_JITTER, _SCAN_TILT = 0.3, 0.015, 0.5
_ONE_SIDE_SHARE = 0.15
_SIZE_NOISE = 0.01
_SIZE_DROP = 0.1
_NORMAL_FLIP = 0.1
# The proper sign changes of an axis frame: half turns about x, y and z.
_HALF_TURNS = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


@dataclass(frozen=True)
class Corpus:
    """n parts: backbone features of their views (n, views, 1280) float16, their shapes from one half of the points or
    from each (points in float16), their B-reps, and `twins` (n,), the same number for parts of the same surface.
    """

    views: Tensor
    halves: tuple[ShapeFeatures, ...]
    breps: list[BrepFeatures]
    twins: Tensor


def load_corpus(parts: Sequence[Part], views: NDArray[np.float16], halves: int = 1) -> Corpus:
    """Load the prepared parts into memory (about 0.15 MB each), together with the features of their views."""
    chunks: list[list[ShapeFeatures]] = [[] for _ in range(halves)]
    points: list[NDArray[np.float32]] = []
    breps: list[BrepFeatures] = []
    for start in range(0, len(parts), _CHUNK):
        records = [load_record(part.folder, part.key) for part in parts[start : start + _CHUNK]]
        points += [record.points for record in records]
        breps += [brep_features([record.brep]) for record in records if record.brep]
        clouds = torch.from_numpy(np.stack([record.points for record in records]))
        with torch.inference_mode():
            for half, chunk in enumerate(chunks):
                chunk.append(_compact(shape_features(clouds, half)))
    twins = torch.from_numpy(twin_labels(points))
    return Corpus(torch.from_numpy(views), tuple(map(_joined, chunks)), breps, twins)


def shapes(features: ShapeFeatures, rows: Tensor) -> ShapeFeatures:
    """The rows of stored features, as the tower reads them."""
    return ShapeFeatures(
        features.points[rows].float(),
        features.near[rows].long(),
        features.coarse_near[rows].long(),
        features.whole[rows],
        features.extents_mm[rows],
    )


def augmented(features: ShapeFeatures, generator: torch.Generator) -> ShapeFeatures:
    """Random half turns, small tilts, jitter, flipped normals and noisy sizes; some as a scanner sees them, with more
    noise and uncertain normals, or from one side only.

    Neighbours do not change under rigid motion and are kept.
    """
    n = len(features.points)
    turn = torch.diag_embed(_HALF_TURNS[torch.randint(0, 4, (n,), generator=generator)])
    turn = turn @ _tilts(torch.randn(n, 3, generator=generator) * (_MAX_TILT_RAD / 2))
    xyz, normals = features.points[..., :3] @ turn, features.points[..., 3:] @ turn
    xyz, normals = _from_one_side(xyz, normals, generator)
    scanned = (torch.rand(n, 1, 1, generator=generator) < _SCAN_SHARE).float()
    jitter = _JITTER + scanned * torch.rand(n, 1, 1, generator=generator) * (_SCAN_JITTER - _JITTER)
    xyz = xyz + torch.randn(xyz.shape, generator=generator) * jitter
    normals = normalize(normals + torch.randn(normals.shape, generator=generator) * scanned * _SCAN_TILT, dim=2)
    normals = normals * torch.where(torch.rand(n, 1, 1, generator=generator) < _NORMAL_FLIP, -1.0, 1.0)
    return replace(features, points=torch.cat([xyz, normals], 2), whole=noisy_whole(features, generator))


def _from_one_side(xyz: Tensor, normals: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For a share of the clouds, points that look away from a random direction are replaced by ones that do not."""
    n, m, _ = xyz.shape
    towards = normalize(torch.randn(n, 3, 1, generator=generator), dim=1)
    hidden = (normals @ towards).squeeze(2) < 0
    hidden &= torch.rand(n, 1, generator=generator) < _ONE_SIDE_SHARE
    # In a random order, those to be seen first: the k-th hidden point is replaced by the k-th of these.
    order = (torch.rand(n, m, generator=generator) + hidden.float() * 2).argsort(1)
    seen = m - hidden.sum(1, keepdim=True)
    stand_in = order.gather(1, (hidden.cumsum(1) - 1).clamp_min(0) % seen.clamp_min(1))
    source = torch.where(hidden, stand_in, torch.arange(m)).unsqueeze(2).expand(-1, -1, 3)
    return xyz.gather(1, source), normals.gather(1, source)


def noisy_whole(features: ShapeFeatures, generator: torch.Generator) -> Tensor:
    """Sizes that are off by a percent or so, and at times no size and periods at all: (n, GLOBAL_WIDTH)."""
    n = len(features.extents_mm)
    noisy_mm = features.extents_mm * (1 + _SIZE_NOISE * torch.randn(n, 3, generator=generator))
    size = log_grid(noisy_mm, SIZE_LOW_MM, SIZE_HIGH_MM, SIZE_BINS).flatten(1)
    kept = (torch.rand(n, 1, generator=generator) >= _SIZE_DROP).float()
    return torch.cat([size, features.whole[:, size.shape[1] :]], 1) * kept


def _tilts(axis_angle: Tensor) -> Tensor:
    """Rotation matrices (n, 3, 3) of axis-angle vectors (n, 3)."""
    x, y, z = axis_angle.unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    return torch.linalg.matrix_exp(skew)


def _compact(features: ShapeFeatures) -> ShapeFeatures:
    return replace(
        features,
        points=features.points.half(),
        near=features.near.to(torch.int16),
        coarse_near=features.coarse_near.to(torch.int16),
    )


def _joined(chunks: list[ShapeFeatures]) -> ShapeFeatures:
    return ShapeFeatures(*(torch.cat(tensors) for tensors in zip(*(vars(c).values() for c in chunks), strict=True)))
