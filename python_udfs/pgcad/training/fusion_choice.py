"""Which weights the fused vector is made with: those that find the most validation parts."""

from __future__ import annotations

from itertools import product

from pgcad.encoders.fusion import FusionWeights, fuse
from pgcad.evaluation.ranking import mean_by_family, ranks, recall
from pgcad.training.encode import brep_vectors, image_vectors, shape_vectors, text_vectors, view_vectors
from pgcad.training.material import Material
from pgcad.training.towers import Seen, Towers

_WEIGHT_GRID = (0.25, 0.5, 1.0, 2.0)


def choose_fusion(towers: Towers, material: Material, seen: Seen | None) -> tuple[FusionWeights, float]:
    """The fusion weights with the best R@10 of captions against nameless validation parts, and that recall: the mean of
    what it is over queries and over families.
    """
    towers.eval()
    text = text_vectors(towers.text, material.queries)
    shape = shape_vectors(towers.shape, material.validation, seen.validation if seen else None)
    brep = brep_vectors(towers.brep, material.validation, seen.validation_brep if seen else None)
    image = image_vectors(view_vectors(towers.image, material.validation))
    found: dict[FusionWeights, tuple[float, float]] = {}
    for image_weight, brep_weight in product(_WEIGHT_GRID, _WEIGHT_GRID):
        weights = FusionWeights(text=1.0, image=image_weight, shape=1.0, brep=brep_weight)
        rank = ranks(text, fuse(weights, None, image, shape, brep), material.targets, material.validation.twins)
        by_family = mean_by_family((rank < 10).tolist(), material.families)
        found[weights] = ((recall(rank, 10) + by_family) / 2, recall(rank, 1))
    best = max(found, key=lambda weights: found[weights])
    return best, found[best][0]
