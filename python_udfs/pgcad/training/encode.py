"""Vectors of whole corpora, in batches: computed where the tower is, given back on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pgcad.encoders.brep import BrepTower
from pgcad.encoders.image import ImageTower
from pgcad.encoders.shape_tower import ShapeTower
from pgcad.encoders.text import TextFeatures
from pgcad.geometry.views import VIEWS
from pgcad.training.device import device_of, on
from pgcad.training.tensors import Corpus, breps, shapes

_BATCH = 128


@torch.no_grad()
def pooled_vectors(tower: ShapeTower, corpus: Corpus, variant: int = 0) -> Tensor:
    """What the graph network sees of one variant of the parts' shapes, (n, POOLED_WIDTH)."""
    batches = (shapes(corpus.variants[variant], rows) for rows in torch.arange(len(corpus.views)).split(_BATCH))
    return torch.cat([tower.pooled(on(device_of(tower), batch)).cpu() for batch in batches])


@torch.no_grad()
def shape_vectors(tower: ShapeTower, corpus: Corpus, pooled: Tensor | None = None, variant: int = 0) -> Tensor:
    """(n, dim) of one variant of the parts' shapes; `pooled` saves the graph network its work."""
    device, pooled = device_of(tower), pooled_vectors(tower, corpus, variant) if pooled is None else pooled
    return tower.head(pooled.to(device), corpus.variants[variant].whole.float().to(device)).cpu()


@torch.no_grad()
def brep_pooled(tower: BrepTower, corpus: Corpus) -> Tensor:
    """What the graph network sees of the parts' B-reps, (n, width)."""
    batches = (breps(corpus.breps, rows.tolist()) for rows in torch.arange(len(corpus.breps)).split(_BATCH))
    return torch.cat([tower.pooled(on(device_of(tower), batch)).cpu() for batch in batches])


@torch.no_grad()
def brep_vectors(tower: BrepTower, corpus: Corpus, pooled: Tensor | None = None) -> Tensor:
    """(n, dim) of the parts' B-reps; `pooled` saves the graph network its work."""
    measures = torch.cat([brep.measures for brep in corpus.breps]).float()
    device, pooled = device_of(tower), brep_pooled(tower, corpus) if pooled is None else pooled
    return tower.head(pooled.to(device), measures.to(device)).cpu()


@torch.no_grad()
def view_vectors(tower: ImageTower, corpus: Corpus) -> Tensor:
    """(n, views, dim) of each view of each part, the ten canonical ones first."""
    return torch.stack([tower.head(views.float().to(device_of(tower))).cpu() for views in corpus.views])


def image_vectors(views: Tensor) -> Tensor:
    """(n, dim): the normalised mean of a part's canonical view vectors (n, views, dim)."""
    return normalize(views[:, : len(VIEWS)].mean(1), dim=1)


@torch.no_grad()
def text_vectors(tower: nn.Module, features: TextFeatures) -> Tensor:
    """(n, dim) of texts."""
    rows = torch.arange(len(features.sentence))
    return torch.cat([tower(on(device_of(tower), features[batch])).cpu() for batch in rows.split(_BATCH)])
