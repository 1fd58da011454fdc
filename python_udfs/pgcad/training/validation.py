"""How good the towers are on validation parts, and which weights the fused vector is best made with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from pgcad.encoders.fusion import FusionWeights, fuse
from pgcad.evaluation.ranking import mean_by_family, ranks, recall
from pgcad.training.encode import brep_vectors, image_vectors, shape_vectors, text_vectors, view_vectors
from pgcad.training.material import Material
from pgcad.training.towers import Seen, Towers

_WEIGHT_GRID = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Validation:
    """Recalls of captions among the nameless validation parts: in the first ten, over queries and over families, and as
    the first.
    """

    text: float
    text_by_family: float
    text_first: float

    @property
    def score(self) -> float:
        """What the weights are chosen by."""
        return (self.text + self.text_by_family) / 2

    def figures(self) -> dict[str, float]:
        """Every figure by its name, the score among them."""
        return {
            "score": self.score,
            "text → part, R@10": self.text,
            "text → part, R@10, mean over families": self.text_by_family,
            "text → part, R@1": self.text_first,
        }


def validate(towers: Towers, material: Material, seen: Seen | None) -> tuple[FusionWeights, Validation]:
    """The fusion weights that find the most captions' parts, over queries and families, and all recalls with them."""
    towers.eval()
    text = text_vectors(towers.text, material.queries)
    shape = shape_vectors(towers.shape, material.validation, seen.validation if seen else None)
    brep = brep_vectors(towers.brep, material.validation, seen.validation_brep if seen else None)
    brep = brep * material.validation_has_brep.unsqueeze(1)  # what is 0 takes no part in the sum
    image = image_vectors(view_vectors(towers.image, material.validation))
    found: dict[FusionWeights, Validation] = {}
    for image_weight, brep_weight in product(_WEIGHT_GRID, _WEIGHT_GRID):
        weights = FusionWeights(text=1.0, image=image_weight, shape=1.0, brep=brep_weight)
        rank = ranks(text, fuse(weights, None, image, shape, brep), material.targets, material.validation.twins)
        by_family = mean_by_family((rank < 10).tolist(), material.families)
        found[weights] = Validation(recall(rank, 10), by_family, recall(rank, 1))
    best = max(found, key=lambda weights: (found[weights].score, found[weights].text_first))
    return best, found[best]
