"""The shape tower: a network over surface points, and what describes the part as a whole.

Two networks: `dgcnn`, edge convolutions (Wang et al. 2019, "Dynamic Graph CNN for Learning on Point Clouds") over
neighbours that are found once, and the small one, `pointnet` (Qi et al. 2017, "PointNet: Deep Learning on Point Sets
for 3D Classification and Segmentation"), which sees every point alone. In an edge convolution one linear layer per edge
function lets it be factored, max_j(W h_j) + V h_i, so that the work is per point and not per edge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from pgcad.encoders.shape import COARSE, POINTS, ShapeFeatures
from pgcad.encoders.shape_signature import SIGNATURE_WIDTH

POOLED_WIDTH = 1024


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


class ShapeTower(nn.Module, ABC):
    """ShapeFeatures → (n, dim), unit length. What it sees of the points is its kind's affair, see NETWORKS."""

    def __init__(self, dim: int = 512, hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
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

    @abstractmethod
    def pooled(self, features: ShapeFeatures) -> Tensor:
        """What the network sees of each cloud: (n, POOLED_WIDTH)."""

    def head(self, pooled: Tensor, whole: Tensor) -> Tensor:
        """(n, dim), unit length, from what the network saw, and the signature."""
        return normalize(self.project(torch.cat([pooled, whole], 1)) + self.numbers(whole), dim=1)

    def freeze_network(self) -> None:
        """Let no more than the head learn."""
        for name, module in self.named_children():
            module.requires_grad_(name in ("project", "numbers"))


class EdgeTower(ShapeTower):
    """Three edge convolutions, each over a wider neighbourhood."""

    def __init__(self, dim: int = 512, hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__(dim, hidden, dropout)
        self.point = nn.Sequential(nn.Linear(6, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
        self.fine = EdgeConv(64, 64)
        self.middle = EdgeConv(64, 128)
        self.wide = EdgeConv(128, 256)
        self.mix = nn.Sequential(nn.Linear(64 + 128 + 256, POOLED_WIDTH // 2), nn.GELU())

    def pooled(self, features: ShapeFeatures) -> Tensor:
        points = self.point(features.points)
        fine = self.fine(points, features.near, points[:, :: POINTS // COARSE])
        middle = self.middle(fine, features.coarse_near, fine)
        wide = self.wide(middle, features.coarse_near, middle)
        return _largest_and_mean(self.mix(torch.cat([fine, middle, wide], 2)))


class PointTower(ShapeTower):
    """The same layers for every point, and none for its neighbours."""

    def __init__(self, dim: int = 512, hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__(dim, hidden, dropout)
        layers = [(6, 64), (64, 128), (128, POOLED_WIDTH // 2)]
        self.point = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.GELU()) for a, b in layers))

    def pooled(self, features: ShapeFeatures) -> Tensor:
        return _largest_and_mean(self.point(features.points))


DGCNN = "dgcnn"
NETWORKS: dict[str, type[ShapeTower]] = {DGCNN: EdgeTower, "pointnet": PointTower}


def network_of(names: Collection[str]) -> str:
    """Which of NETWORKS a shape tower is whose tensors have these names."""
    return DGCNN if "fine.norm.weight" in names else "pointnet"


def _largest_and_mean(points: Tensor) -> Tensor:
    """Of what is known of each point: (n, m, c) → (n, 2 c)."""
    return torch.cat([points.amax(1), points.mean(1)], 1)
