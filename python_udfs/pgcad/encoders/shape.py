"""The shape tower: a graph network over surface points in the part's own frame, and what describes the part as a whole
(`pgcad.encoders.shape_signature`).

Edge convolutions: Wang et al. 2019, "Dynamic Graph CNN for Learning on Point Clouds". One linear layer per edge
function lets the convolution be factored, max_j(W h_j) + V h_i, so that the work is per point and not per edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from pgcad.encoders.own_frame import own_frame
from pgcad.encoders.shape_signature import SIGNATURE_WIDTH, signature

POINTS, COARSE, NEIGHBOURS = 1024, 128, 16
CLOUD = 2048
POOLED_WIDTH = 1024


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


def gather_max(values: Tensor, near: Tensor) -> Tensor:
    """Largest of the neighbours' values: (n, m, c) and (n, q, k) → (n, q, c).

    Only the winners take part in the gradient, so the edges themselves are never kept.
    """
    n, m, channels = values.shape
    with torch.no_grad():
        flat = near + (torch.arange(n, device=near.device) * m).view(n, 1, 1)
        edges = values.reshape(n * m, channels).index_select(0, flat.flatten())
        winner = edges.view(n, near.shape[1], near.shape[2], channels).max(2).indices
    return values.gather(1, near.gather(2, winner))


class EdgeConv(nn.Module):
    """Edge convolution with a linear edge function, layer norm and GELU: (n, m, c_in) at q centres → (n, q, c_out)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.neighbour = nn.Linear(channels_in, channels_out, bias=False)
        self.own = nn.Linear(channels_in, channels_out)
        self.norm = nn.LayerNorm(channels_out)

    def forward(self, values: Tensor, near: Tensor, centres: Tensor) -> Tensor:
        return gelu(self.norm(gather_max(self.neighbour(values), near) + self.own(centres)))


class ShapeTower(nn.Module):
    """ShapeFeatures → (n, dim), unit length."""

    def __init__(self, dim: int = 512, hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.point = nn.Sequential(nn.Linear(6, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
        self.fine = EdgeConv(64, 64)
        self.middle = EdgeConv(64, 128)
        self.wide = EdgeConv(128, 256)
        self.mix = nn.Sequential(nn.Linear(64 + 128 + 256, POOLED_WIDTH // 2), nn.GELU())
        self.project = nn.Sequential(
            nn.Linear(POOLED_WIDTH + SIGNATURE_WIDTH, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )
        self.numbers = nn.Linear(SIGNATURE_WIDTH, dim, bias=False)

    def forward(self, features: ShapeFeatures) -> Tensor:
        return self.head(self.pooled(features), features.whole)

    def pooled(self, features: ShapeFeatures) -> Tensor:
        """What the graph network sees of each cloud: (n, POOLED_WIDTH)."""
        points = self.point(features.points)
        fine = self.fine(points, features.near, points[:, :: POINTS // COARSE])
        middle = self.middle(fine, features.coarse_near, fine)
        wide = self.wide(middle, features.coarse_near, middle)
        mixed = self.mix(torch.cat([fine, middle, wide], 2))
        return torch.cat([mixed.amax(1), mixed.mean(1)], 1)

    def head(self, pooled: Tensor, whole: Tensor) -> Tensor:
        """(n, dim), unit length, from what the graph network saw, and the signature."""
        return normalize(self.project(torch.cat([pooled, whole], 1)) + self.numbers(whole), dim=1)
