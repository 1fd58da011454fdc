"""Solves for the prior: the linear map from the geometry of the training parts to what was said of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pgcad.corpus.captions import TEXTS_PER_PART
from pgcad.encoders.prior import TextPrior
from pgcad.training.encode import brep_vectors, image_vectors, shape_vectors, text_vectors, view_vectors
from pgcad.training.material import Material
from pgcad.training.towers import Towers

_SHRINKAGE = 1.0  # in parts: so many that were as the map had it before


@torch.no_grad()
def solve_prior(prior: TextPrior, towers: Towers, material: Material) -> None:
    """Ridge regression, towards what `prior` holds already: from the vectors of each part that has texts to the mean
    direction of those of all its texts, in both languages.
    """
    towers.eval()
    texts = text_vectors(towers.text, material.texts).unflatten(0, (-1, TEXTS_PER_PART))
    said = normalize(texts.mean(1), dim=1)[material.text_row.clamp_min(0)]
    image = image_vectors(view_vectors(towers.image, material.corpus))
    surface = torch.cat([image, shape_vectors(towers.shape, material.corpus)], 1)
    whole = torch.cat([surface, brep_vectors(towers.brep, material.corpus)], 1)
    _regress(prior.without_brep, surface, said, material.has_text)
    _regress(prior.with_brep, whole, said, material.has_text & material.has_brep)


def _regress(linear: nn.Linear, given: Tensor, wanted: Tensor, rows: Tensor) -> None:
    """Take `given` (n, d) to `wanted` (n, dim) where `rows` (n,) says so, and differ from before no more than pays."""
    given, wanted, before = given[rows].double(), wanted[rows].double(), linear.weight.double()
    gram = given.T @ given + _SHRINKAGE * torch.eye(given.shape[1], dtype=torch.float64)
    linear.weight.copy_(before + torch.linalg.solve(gram, given.T @ (wanted - given @ before.T)).T)
