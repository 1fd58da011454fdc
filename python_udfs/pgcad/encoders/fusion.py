"""How the vectors of one part become one: a weighted sum, normalised. The weights are chosen on validation rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class FusionWeights:
    """Weight of each modality in the sum."""

    text: float
    image: float
    shape: float
    brep: float = 0.0


def fuse(
    weights: FusionWeights,
    text: Tensor | None = None,
    image: Tensor | None = None,
    shape: Tensor | None = None,
    brep: Tensor | None = None,
) -> Tensor:
    """Fuse unit vectors (…, dim), any of them absent, into one unit vector (…, dim)."""
    given = ((weights.text, text), (weights.image, image), (weights.shape, shape), (weights.brep, brep))
    terms = [weight * vector for weight, vector in given if vector is not None]
    return normalize(torch.stack(terms).sum(0), dim=-1)
