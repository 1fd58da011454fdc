"""Vectors of whole corpora, in batches: computed where the tower is, given back on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pgcad.encoders.brep import BrepTower, together
from pgcad.encoders.image import ImageTower
from pgcad.encoders.shape import ShapeTower
from pgcad.encoders.text import TextFeatures
from pgcad.geometry.views import VIEWS
from pgcad.training.device import device_of, on
from pgcad.training.tensors import Corpus, augmented, shapes

_BATCH = 128


@torch.no_grad()
def pooled_vectors(tower: ShapeTower, corpus: Corpus, generator: torch.Generator | None = None) -> Tensor:
    """What the graph network sees of the parts, (n, POOLED_WIDTH): as they are, or augmented and from either half."""
    half = 0 if generator is None else int(torch.randint(0, 2, (1,), generator=generator))
    found = []
    for rows in torch.arange(len(corpus.views)).split(_BATCH):
        features = shapes(corpus.halves[half], rows)
        features = features if generator is None else augmented(features, generator)
        found.append(tower.pooled(on(device_of(tower), features)).cpu())
    return torch.cat(found)


@torch.no_grad()
def shape_vectors(tower: ShapeTower, corpus: Corpus, pooled: Tensor | None = None) -> Tensor:
    """(n, dim) of the parts' shapes; `pooled` saves the graph network its work."""
    device, pooled = device_of(tower), pooled_vectors(tower, corpus) if pooled is None else pooled
    return tower.head(pooled.to(device), corpus.halves[0].whole.to(device)).cpu()


@torch.no_grad()
def brep_pooled(tower: BrepTower, corpus: Corpus) -> Tensor:
    """What the graph network sees of the parts' B-reps, (n, width)."""
    rows = range(0, len(corpus.breps), _BATCH)
    batches = (on(device_of(tower), together(corpus.breps[start : start + _BATCH])) for start in rows)
    return torch.cat([tower.pooled(batch).cpu() for batch in batches])


@torch.no_grad()
def brep_vectors(tower: BrepTower, corpus: Corpus, pooled: Tensor | None = None) -> Tensor:
    """(n, dim) of the parts' B-reps; `pooled` saves the graph network its work."""
    measures = torch.cat([brep.measures for brep in corpus.breps])
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
