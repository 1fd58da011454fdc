"""Prepared parts as tensors: what training draws batches from and validation encodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.corpus.parts import Part
from pgcad.corpus.records import load_points
from pgcad.corpus.twins import twin_labels
from pgcad.encoders.brep import BrepFeatures, together
from pgcad.encoders.shape import ShapeFeatures
from pgcad.training.shapes import geometry_features

_MAX_TILT_RAD = 0.12
_JITTER = 0.004
_SIGNATURE_DROP = 0.1
_NORMAL_FLIP = 0.1
_CURVES_PER_GRAPH = 600
# The proper sign changes of an axis frame: half turns about x, y and z.
_HALF_TURNS = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


@dataclass(frozen=True)
class Corpus:
    """n parts: backbone features of their views (n, views, 1280) float16; their shapes as they are, then as scanners
    and other programs give them (`pgcad.training.shapes`), their B-reps, all in half precision; and `twins` (n,), the
    same number for parts of the same surface.
    """

    views: Tensor
    variants: tuple[ShapeFeatures, ...]
    breps: list[BrepFeatures]
    twins: Tensor


def load_corpus(parts: Sequence[Part], views: NDArray[np.float16], store: Path, workers: int) -> Corpus:
    """Load the prepared parts into memory (about 0.3 MB each), together with the features of their views."""
    variants, breps = geometry_features(parts, store, workers)
    twins = twin_labels([load_points(part.folder, part.key) for part in parts])
    return Corpus(torch.from_numpy(views), variants, breps, torch.from_numpy(twins))


def shapes(features: ShapeFeatures, rows: Tensor) -> ShapeFeatures:
    """The rows of stored features, as the tower reads them."""
    return ShapeFeatures(
        features.points[rows].float(),
        features.near[rows].long(),
        features.coarse_near[rows].long(),
        features.whole[rows].float(),
    )


def breps(graphs: Sequence[BrepFeatures], rows: Sequence[int]) -> BrepFeatures:
    """The B-reps of `rows` as one batch, as the tower reads it."""
    return together([_full(graphs[row]) for row in rows])


def thinned_breps(graphs: Sequence[BrepFeatures], rows: Sequence[int], generator: torch.Generator) -> BrepFeatures:
    """The same with some curves left out of the graphs that have many: faster, and no single curve decides.

    Rong et al. 2020, "DropEdge".
    """
    return together([_full(_thinned(graphs[row], generator)) for row in rows])


def augmented(features: ShapeFeatures, generator: torch.Generator) -> ShapeFeatures:
    """Random half turns, small tilts, jitter, flipped normals, and at times no signature.

    Neighbours do not change under rigid motion and are kept.
    """
    n = len(features.points)
    turn = torch.diag_embed(_HALF_TURNS[torch.randint(0, 4, (n,), generator=generator)])
    turn = turn @ _tilts(torch.randn(n, 3, generator=generator) * (_MAX_TILT_RAD / 2))
    xyz, normals = features.points[..., :3] @ turn, features.points[..., 3:] @ turn
    xyz = xyz + torch.randn(xyz.shape, generator=generator) * _JITTER
    normals = normals * torch.where(torch.rand(n, 1, 1, generator=generator) < _NORMAL_FLIP, -1.0, 1.0)
    points = torch.cat([xyz, normalize(normals, dim=2)], 2)
    return replace(features, points=points, whole=at_times(features.whole, generator))


def at_times(signatures: Tensor, generator: torch.Generator) -> Tensor:
    """Signatures (n, width), a share of them 0, so that the network learns to see the shape as well."""
    return signatures * (torch.rand(len(signatures), 1, generator=generator) >= _SIGNATURE_DROP)


def _thinned(graph: BrepFeatures, generator: torch.Generator) -> BrepFeatures:
    if len(graph.pairs) <= _CURVES_PER_GRAPH:
        return graph
    kept = torch.randperm(len(graph.pairs), generator=generator)[:_CURVES_PER_GRAPH]
    return replace(graph, pairs=graph.pairs[kept], curves=graph.curves[kept])


def _full(features: BrepFeatures) -> BrepFeatures:
    """In the precision that networks compute with, and with indices that those of other graphs can be added to."""
    full = {k: t.float() if t.is_floating_point() else t.long() for k, t in vars(features).items()}
    return BrepFeatures(**full)


def _tilts(axis_angle: Tensor) -> Tensor:
    """Rotation matrices (n, 3, 3) of axis-angle vectors (n, 3)."""
    x, y, z = axis_angle.unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    return torch.linalg.matrix_exp(skew)
