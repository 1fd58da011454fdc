"""Vectors of whole corpora, in batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pgcad.encoders.text import TextFeatures
from pgcad.training.corpus import CANONICAL_VIEWS, Corpus, shapes

_BATCH = 128


@torch.inference_mode()
def shape_vectors(tower: nn.Module, corpus: Corpus) -> Tensor:
    """(n, dim) of the parts' shapes."""
    rows = torch.arange(len(corpus.views))
    return torch.cat([tower(shapes(corpus.halves[0], batch)) for batch in rows.split(_BATCH)])


@torch.inference_mode()
def view_vectors(tower: nn.Module, corpus: Corpus) -> Tensor:
    """(n, views, dim) of each view of each part, the ten canonical ones first."""
    return torch.stack([tower(views) for views in corpus.views.float()])


def image_vectors(views: Tensor) -> Tensor:
    """(n, dim): the normalised mean of a part's canonical view vectors (n, views, dim)."""
    return normalize(views[:, :CANONICAL_VIEWS].mean(1), dim=1)


@torch.inference_mode()
def text_vectors(tower: nn.Module, features: TextFeatures) -> Tensor:
    """(n, dim) of texts."""
    rows = torch.arange(len(features.sentence))
    return torch.cat([tower(features[batch]) for batch in rows.split(_BATCH)])
