"""How good the towers are on validation parts, and which weights the fused vector is best made with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from statistics import fmean

from torch import Tensor

from pgcad.encoders.fusion import FusionWeights, fuse
from pgcad.evaluation.ranking import mean_by_family, ranks, ranks_of, recall
from pgcad.evaluation.tasks import best_view
from pgcad.geometry.views import VIEWS
from pgcad.training.encode import brep_vectors, image_vectors, shape_vectors, text_vectors, view_vectors
from pgcad.training.material import Material
from pgcad.training.shapes import VARIANTS
from pgcad.training.towers import Seen, Towers

_WEIGHT_GRID = (0.25, 0.5, 1.0, 2.0)
FORMS = ("turned", "scan", "scan of one side")
"""What the variants of a shape are after the first (`pgcad.training.shapes.cloud_variants`)."""


@dataclass(frozen=True)
class Validation:
    """Recalls among the validation parts: captions in the first ten, over queries and over families; pictures in the
    first ten; other files and scans (`shapes`, one for each variant) as the first.
    """

    text: float
    text_by_family: float
    picture: float
    shapes: tuple[float, ...]

    @property
    def score(self) -> float:
        """What the weights are chosen by."""
        return fmean([self.text, self.text_by_family, self.picture, fmean(self.shapes)])

    def figures(self) -> dict[str, float]:
        """Every figure by its name, the score first."""
        shapes = {f"{form} → part, R@1": share for form, share in zip(FORMS, self.shapes, strict=True)}
        return {
            "score": self.score,
            "text → part, R@10": self.text,
            "text → part, R@10, mean over families": self.text_by_family,
            "picture → part, R@10": self.picture,
            **shapes,
        }

    def __str__(self) -> str:
        shapes = " ".join(f"{share:.3f}" for share in self.shapes)
        return f"text {self.text:.3f} ({self.text_by_family:.3f}) picture {self.picture:.3f} shapes {shapes}"


def validate(towers: Towers, material: Material, seen: Seen | None) -> tuple[FusionWeights, Validation]:
    """The fusion weights that find the most captions' parts, over queries and families, and all recalls with them."""
    towers.eval()
    targets, twins = material.targets, material.validation.twins
    text = text_vectors(towers.text, material.queries)
    own, *others = (_shapes(towers, material, seen, variant) for variant in range(VARIANTS))
    brep = brep_vectors(towers.brep, material.validation, seen.validation_brep if seen else None)
    brep = brep * material.validation_has_brep.unsqueeze(1)  # what is 0 takes no part in the sum
    views = view_vectors(towers.image, material.validation)
    image = image_vectors(views)
    found: dict[FusionWeights, tuple[float, float, float]] = {}
    for image_weight, brep_weight in product(_WEIGHT_GRID, _WEIGHT_GRID):
        weights = FusionWeights(text=1.0, image=image_weight, shape=1.0, brep=brep_weight)
        rank = ranks(text, fuse(weights, None, image, own, brep), targets, twins)
        by_family = mean_by_family((rank < 10).tolist(), material.families)
        found[weights] = (recall(rank, 10) + by_family, recall(rank, 10), by_family)
    best = max(found, key=lambda weights: found[weights])
    asked = views[targets, len(VIEWS) :]
    pictures = [
        ranks_of(best_view(asked[:, one], views[:, : len(VIEWS)]), targets, twins) for one in range(asked.shape[1])
    ]
    return best, Validation(
        text=found[best][1],
        text_by_family=found[best][2],
        picture=fmean(recall(rank, 10) for rank in pictures),
        shapes=tuple(recall(ranks(other[targets], own, targets, twins), 1) for other in others),
    )


def _shapes(towers: Towers, material: Material, seen: Seen | None, variant: int) -> Tensor:
    pooled = seen.validation[:, variant].float() if seen else None
    return shape_vectors(towers.shape, material.validation, pooled, variant)
