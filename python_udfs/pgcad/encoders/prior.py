"""The text vector that a part would have if somebody had described it, from its picture, its shape and its B-rep.

Vectors of texts and vectors of geometry lie apart, even where they belong together (Liang et al. 2022, "Mind the Gap:
Understanding the Modality Gap"), so a part without words would come behind all that have some. A prior from one kind of
vector to the other closes the gap (Ramesh et al. 2022, "Hierarchical Text-Conditional Image Generation with CLIP
Latents"); here a linear one, which `pgcad.training.prior` solves for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class TextPrior(nn.Module):
    """Unit vectors (…, dim) of the picture, the shape and, where a part has one, the B-rep → (…, dim), unit length."""

    def __init__(self, dim: int = 512) -> None:
        super().__init__()
        self.with_brep = nn.Linear(3 * dim, dim, bias=False)
        self.without_brep = nn.Linear(2 * dim, dim, bias=False)
        for weights in self.parameters():
            nn.init.zeros_(weights)  # which supposes nothing, until it is solved for

    def forward(self, image: Tensor, shape: Tensor, brep: Tensor | None = None) -> Tensor:
        supposed = (
            self.without_brep(torch.cat([image, shape], -1))
            if brep is None
            else self.with_brep(torch.cat([image, shape, brep], -1))
        )
        return normalize(supposed, dim=-1)
