"""The frame of a part: axes that turn with it, whatever axes its file or its scanner had."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

_CANDIDATES, _VOTERS = 128, 1024
_SHARPNESS = 32
"""Normals count for an axis with this power of the cosine between them: half at some 12 degrees."""
_UPRIGHT = 0.3
"""A second axis is looked for among normals that lie this far (cosine) from being square to the first, or less."""


def own_frame(clouds: Tensor) -> tuple[Tensor, Tensor]:
    """Turn clouds (n, m, 6) in mm into their own frame; returns them, box centre at 0, and the extents (n, 3).

    The frame is that of three with the smallest box: the directions that most of the surface faces, which are exact
    where a part has flat faces; the principal axes of the normals; those of the points. Axes are ordered by ascending
    extent and point to the side of positive skew; the frame is right-handed, so mirror images stay apart.
    """
    xyz, normals = clouds[..., :3], clouds[..., 3:]
    xyz = xyz - xyz.mean(1, keepdim=True)
    frames = torch.stack([_facing_axes(normals), _principal_axes(normals), _principal_axes(xyz)], 1)
    turned = xyz.unsqueeze(1) @ frames
    extents = turned.amax(2) - turned.amin(2)
    volume = (extents + 1e-3 * extents.amax(2, keepdim=True)).prod(2)
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


def _principal_axes(vectors: Tensor) -> Tensor:
    """(n, 3, 3), in columns, of vectors (n, m, 3)."""
    return torch.linalg.eigh(vectors.transpose(1, 2) @ vectors).eigenvectors


def _facing_axes(normals: Tensor) -> Tensor:
    """(n, 3, 3), in columns: the direction that most normals (n, m, 3) have, up to sign; the one that most have of
    those square to it; and the third.
    """
    voters = normals[:, :: max(1, normals.shape[1] // _VOTERS)]
    first = _most_common(voters, torch.ones_like(voters[..., 0]))
    along = (voters @ first.unsqueeze(2)).squeeze(2)
    beside = voters - along.unsqueeze(2) * first.unsqueeze(1)
    beside = normalize(beside, dim=2) * (along.abs() < _UPRIGHT).unsqueeze(2)
    second = _most_common(beside, (along.abs() < _UPRIGHT).float())
    second = second - (second * first).sum(1, keepdim=True) * first
    # Where nothing is square to the first, any direction that is will do: such a part is flat.
    spare = one_hot(first.abs().argmin(1), 3).to(first)
    spare = torch.linalg.cross(first, spare)
    second = torch.where(second.norm(dim=1, keepdim=True) > 1e-3, second, spare)
    second = normalize(second, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], 2)


def _most_common(directions: Tensor, weights: Tensor) -> Tensor:
    """(n, 3): of unit directions (n, m, 3), up to sign, the one that most lie close to; 0 where all weights (n, m) are.

    Votes with a kernel, then the mean of the voters around the winner.
    """
    step = max(1, directions.shape[1] // _CANDIDATES)
    candidates = directions[:, ::step]
    votes = ((candidates @ directions.transpose(1, 2)).abs().pow(_SHARPNESS) * weights.unsqueeze(1)).sum(2)
    winner = candidates.gather(1, votes.argmax(1).view(-1, 1, 1).expand(-1, 1, 3))
    near = (winner @ directions.transpose(1, 2)).pow(_SHARPNESS).squeeze(1) * weights
    spread = (directions * near.unsqueeze(2)).transpose(1, 2) @ directions
    axis = torch.linalg.eigh(spread).eigenvectors[..., -1]
    return axis * (near.sum(1, keepdim=True) > 0)
