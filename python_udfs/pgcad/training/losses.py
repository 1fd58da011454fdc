"""Contrastive losses over pairs of modalities.

InfoNCE: van den Oord et al. 2018; symmetric with a learned temperature: Radford et al. 2021 (CLIP); nested dimensions:
Kusupati et al. 2022, "Matryoshka Representation Learning".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

NESTED_DIMS = (128, 256, 512)
_MAX_SCALE = 100.0


def same_part(*labels: Tensor) -> Tensor:
    """(n, n) bool: rows that agree in any of the integer `labels` (n,) other than with themselves.

    Two parts with one caption, or with one file, are no evidence against each other.
    """
    agree = torch.stack([label.unsqueeze(0) == label.unsqueeze(1) for label in labels]).any(0)
    return agree & ~torch.eye(len(agree), dtype=torch.bool, device=agree.device)


def info_nce(a: Tensor, b: Tensor, scale: Tensor, duplicates: Tensor) -> Tensor:
    """Symmetric InfoNCE of matching unit rows (n, d); pairs marked in `duplicates` (n, n) are not negatives."""
    logits = (scale * (a @ b.T)).masked_fill(duplicates, -math.inf)
    target = torch.arange(len(a), device=a.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


class NestedInfoNce(nn.Module):
    """InfoNCE with a learned temperature, averaged over the first 128, 256 and 512 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def forward(self, a: Tensor, b: Tensor, duplicates: Tensor) -> Tensor:
        scale = self.log_scale.exp().clamp_max(_MAX_SCALE)
        losses = [
            info_nce(normalize(a[:, :dim], dim=1), normalize(b[:, :dim], dim=1), scale, duplicates)
            for dim in NESTED_DIMS
        ]
        return torch.stack(losses).mean()
