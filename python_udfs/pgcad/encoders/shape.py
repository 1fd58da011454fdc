"""What the shape tower reads of a cloud: surface points in the part's own frame, who is near whom, and what describes
the part as a whole (`pgcad.encoders.shape_signature`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pgcad.encoders.own_frame import own_frame
from pgcad.encoders.shape_signature import signature

POINTS, COARSE, NEIGHBOURS = 1024, 128, 16
CLOUD = 2048


@dataclass(frozen=True)
class ShapeFeatures:
    """What the tower reads, for n clouds.

    `points` (n, 1024, 6): coordinates within ±1 and normals, in the part's frame; `near` and `coarse_near`
    (n, 128, 16): for every eighth point its neighbours among all points, and among every eighth; `whole`
    (n, SIGNATURE_WIDTH): size, periods and distances.
    """

    points: Tensor
    near: Tensor
    coarse_near: Tensor
    whole: Tensor


def nearest(centres: Tensor, xyz: Tensor) -> Tensor:
    """Indices (n, q, NEIGHBOURS) of the points (n, m, 3) nearest to each centre (n, q, 3)."""
    return torch.cdist(centres, xyz).topk(NEIGHBOURS, largest=False, sorted=False).indices


def shape_features(clouds: Tensor, first: int = 0) -> ShapeFeatures:
    """Features of clouds (n, 2048, 6), mm and unit normals; `first` (0 or 1) picks which half of the points is read."""
    own, extents_mm = own_frame(clouds)
    half = own[:, first :: CLOUD // POINTS]
    xyz = half[..., :3] / (extents_mm.amax(1).clamp_min(1e-6).view(-1, 1, 1) / 2)
    points = torch.cat([xyz, half[..., 3:]], 2)
    coarse = xyz[:, :: POINTS // COARSE]
    return ShapeFeatures(points, nearest(coarse, xyz), nearest(coarse, coarse), signature(own, extents_mm))
