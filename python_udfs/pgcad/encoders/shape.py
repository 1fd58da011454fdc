"""The shape tower: a graph network over surface points in the part's own frame, and its absolute size and periods.

Edge convolutions: Wang et al. 2019, "Dynamic Graph CNN for Learning on Point Clouds". One linear layer per edge
function lets the convolution be factored, max_j(W h_j) + V h_i, so that the work is per point and not per edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from pgcad.encoders.log_grid import log_grid

POINTS, COARSE, NEIGHBOURS = 1024, 128, 16
CLOUD = 2048
POOLED_WIDTH = 1024
SIZE_LOW_MM, SIZE_HIGH_MM, SIZE_BINS = 0.05, 2000.0, 96
_HARMONICS = 64
# IPC-7351, IEC 60297 and common connector practice: distances at which pins, leads and holes repeat.
STANDARD_PITCHES_MM = (
    0.35, 0.4, 0.5, 0.635, 0.65, 0.8, 0.95, 1.0, 1.25, 1.27, 1.5, 2.0, 2.29, 2.5, 2.54, 2.77, 3.5, 3.81, 3.96, 5.0,
    5.08, 7.5, 7.62, 10.0, 10.16, 15.0, 20.0,
)  # fmt: skip
GLOBAL_WIDTH = 3 * (SIZE_BINS + _HARMONICS + len(STANDARD_PITCHES_MM))
# A turned box must be this much smaller before the part counts as not aligned with its axes.
_TURNED_BOX_RATIO = 0.9


@dataclass(frozen=True)
class ShapeFeatures:
    """What the tower reads, for n clouds.

    `points` (n, 1024, 6): coordinates within ±1 and normals, in the part's frame; `near` and `coarse_near`
    (n, 128, 16): for every eighth point its neighbours among all points, and among every eighth; `whole`
    (n, GLOBAL_WIDTH): size and periods; `extents_mm` (n, 3) ascending.
    """

    points: Tensor
    near: Tensor
    coarse_near: Tensor
    whole: Tensor
    extents_mm: Tensor


def own_frame(clouds: Tensor) -> tuple[Tensor, Tensor]:
    """Turn clouds (n, m, 6) in mm into their own frame; returns them, box centre at 0, and the extents (n, 3).

    The frame is the given axes, or the principal axes of the normals or of the points where their box is clearly
    smaller. Axes are ordered by ascending extent and point to the side of positive skew; the frame is right-handed, so
    mirror images stay apart.
    """
    xyz, normals = clouds[..., :3], clouds[..., 3:]
    xyz = xyz - xyz.mean(1, keepdim=True)
    given = torch.eye(3, dtype=xyz.dtype, device=xyz.device).expand(len(xyz), 3, 3)
    by_normals = torch.linalg.eigh(normals.transpose(1, 2) @ normals).eigenvectors
    by_points = torch.linalg.eigh(xyz.transpose(1, 2) @ xyz).eigenvectors
    frames = torch.stack([given, by_normals, by_points], 1)
    turned = xyz.unsqueeze(1) @ frames
    extents = turned.amax(2) - turned.amin(2)
    volume = (extents + 1e-3 * extents.amax(2, keepdim=True)).prod(2)
    volume[:, 0] *= _TURNED_BOX_RATIO
    best = volume.argmin(1)
    rows = torch.arange(len(xyz), device=xyz.device)
    order = extents[rows, best].argsort(dim=1, stable=True)
    axes = frames[rows, best].gather(2, order.unsqueeze(1).expand(-1, 3, -1))
    skew = (xyz @ axes).pow(3).mean(1)
    axes = axes * torch.where(skew < 0, -1.0, 1.0).unsqueeze(1)
    axes = torch.cat([axes[..., :2], axes[..., 2:] * torch.linalg.det(axes).sign().view(-1, 1, 1)], 2)
    xyz = xyz @ axes
    low, high = xyz.amin(1, keepdim=True), xyz.amax(1, keepdim=True)
    return torch.cat([xyz - (low + high) / 2, normals @ axes], 2), (high - low).squeeze(1)


def periods(xyz: Tensor, extents_mm: Tensor) -> Tensor:
    """|characteristic function| of the coordinates along each axis, (n, 3 × (harmonics + pitches)).

    A row of N pins peaks at harmonic N of its axis and at its own pitch; position and direction do not matter.
    """
    harmonic = torch.arange(1, _HARMONICS + 1, device=xyz.device) / extents_mm.clamp_min(1e-6).unsqueeze(2)
    pitch = (1.0 / torch.tensor(STANDARD_PITCHES_MM, device=xyz.device)).expand(len(xyz), 3, -1)
    phase = (2 * torch.pi) * xyz.transpose(1, 2).unsqueeze(3) * torch.cat([harmonic, pitch], 2).unsqueeze(2)
    return torch.hypot(phase.cos().mean(2), phase.sin().mean(2)).flatten(1)


def nearest(centres: Tensor, xyz: Tensor) -> Tensor:
    """Indices (n, q, NEIGHBOURS) of the points (n, m, 3) nearest to each centre (n, q, 3)."""
    return torch.cdist(centres, xyz).topk(NEIGHBOURS, largest=False, sorted=False).indices


def shape_features(clouds: Tensor, first: int = 0) -> ShapeFeatures:
    """Features of clouds (n, 2048, 6), mm and unit normals; `first` (0 or 1) picks which half of the points is read."""
    own, extents_mm = own_frame(clouds)
    size = log_grid(extents_mm, SIZE_LOW_MM, SIZE_HIGH_MM, SIZE_BINS).flatten(1)
    whole = torch.cat([size, periods(own[..., :3], extents_mm)], 1)
    half = own[:, first :: CLOUD // POINTS]
    xyz = half[..., :3] / (extents_mm.amax(1).clamp_min(1e-6).view(-1, 1, 1) / 2)
    points = torch.cat([xyz, half[..., 3:]], 2)
    coarse = xyz[:, :: POINTS // COARSE]
    return ShapeFeatures(points, nearest(coarse, xyz), nearest(coarse, coarse), whole, extents_mm)


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
            nn.Linear(POOLED_WIDTH + GLOBAL_WIDTH, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )
        self.numbers = nn.Linear(GLOBAL_WIDTH, dim, bias=False)

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
        """(n, dim), unit length, from what the graph network saw, and size and periods."""
        return normalize(self.project(torch.cat([pooled, whole], 1)) + self.numbers(whole), dim=1)
