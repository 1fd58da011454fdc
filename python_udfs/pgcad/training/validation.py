"""How good the towers are on validation parts, and which weights the fused vector is best made with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from statistics import fmean

import torch
from torch import Tensor

from pgcad.encoders.fusion import FusionWeights, fuse
from pgcad.encoders.prior import TextPrior
from pgcad.evaluation.ranking import mean_by_family, ranks, ranks_of, recall
from pgcad.evaluation.tasks import best_view
from pgcad.geometry.views import VIEWS
from pgcad.training.encode import brep_vectors, image_vectors, shape_vectors, text_vectors, view_vectors
from pgcad.training.material import Material
from pgcad.training.shapes import VARIANTS
from pgcad.training.towers import Seen, Towers

_WEIGHT_GRID = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Validation:
    """Recalls among the nameless validation parts. Of captions in the first ten, over queries and over families, and as
    the first; of pictures from any side in the first ten; of parts turned, noisy and seen from one side as the first.
    """

    text: float
    text_by_family: float
    text_first: float
    picture: float
    shapes: tuple[float, ...]

    @property
    def score(self) -> float:
        """What the weights are chosen by."""
        return fmean([self.text, self.text_by_family, self.picture, fmean(self.shapes)])

    def figures(self) -> dict[str, float]:
        """Every figure by its name, the score among them."""
        turned, noisy, one_sided = self.shapes
        return {
            "score": self.score,
            "text → part, R@10": self.text,
            "text → part, R@10, mean over families": self.text_by_family,
            "text → part, R@1": self.text_first,
            "picture → part, R@10": self.picture,
            "turned shape → part, R@1": turned,
            "noisy shape → part, R@1": noisy,
            "shape from one side → part, R@1": one_sided,
        }


def validate(
    towers: Towers, material: Material, seen: Seen | None, prior: TextPrior | None = None
) -> tuple[FusionWeights, Validation]:
    """The fusion weights that find the most captions' parts, over queries and families, and all recalls with them; with
    a `prior`, captions are looked for among the texts that it supposes, as search does.
    """
    towers.eval()
    text = text_vectors(towers.text, material.queries)
    own, *given = (_shapes(towers, material, seen, variant) for variant in range(VARIANTS))
    brep = brep_vectors(towers.brep, material.validation, seen.validation_brep if seen else None)
    brep = brep * material.validation_has_brep.unsqueeze(1)  # what is 0 takes no part in the sum
    views = view_vectors(towers.image, material.validation)
    image = image_vectors(views)
    found: dict[FusionWeights, tuple[float, float, float]] = {}
    for image_weight, brep_weight in product(_WEIGHT_GRID, _WEIGHT_GRID):
        weights = FusionWeights(text=1.0, image=image_weight, shape=1.0, brep=brep_weight)
        found[weights] = _captions(text, fuse(weights, None, image, own, brep), material)
    best = max(found, key=lambda weights: (sum(found[weights][:2]), found[weights][2]))
    captions = found[best] if prior is None else _captions(text, _supposed(prior, image, own, brep), material)
    targets, twins = material.targets, material.validation.twins
    recalls = [recall(ranks(other[targets], own, targets, twins), 1) for other in given]
    return best, Validation(*captions, picture=_pictures(views, material), shapes=tuple(recalls))


def _captions(text: Tensor, gallery: Tensor, material: Material) -> tuple[float, float, float]:
    """Among the first ten, over queries and over families, and as the first."""
    rank = ranks(text, gallery, material.targets, material.validation.twins)
    return recall(rank, 10), mean_by_family((rank < 10).tolist(), material.families), recall(rank, 1)


@torch.no_grad()
def _supposed(prior: TextPrior, image: Tensor, shape: Tensor, brep: Tensor) -> Tensor:
    """Texts (n, dim); rows of `brep` that are 0 are of parts without one."""
    return torch.where(brep.any(1, keepdim=True), prior(image, shape, brep), prior(image, shape))


def _shapes(towers: Towers, material: Material, seen: Seen | None, variant: int) -> Tensor:
    pooled = seen.validation[:, variant].float() if seen else None
    return shape_vectors(towers.shape, material.validation, pooled, variant)


def _pictures(views: Tensor, material: Material) -> float:
    """R@10 of the random views among the canonical ones."""
    targets, twins = material.targets, material.validation.twins
    canonical, random = views[:, : len(VIEWS)], views[targets, len(VIEWS) :].unbind(1)
    return fmean(recall(ranks_of(best_view(asked, canonical), targets, twins), 10) for asked in random)
