"""What is learned from a batch: the texts, pictures, points and B-reps of one part belong together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.corpus.captions import TEXTS_PER_PART
from pgcad.encoders.text import TextFeatures
from pgcad.training.losses import same_part
from pgcad.training.material import Material
from pgcad.training.shapes import VARIANTS
from pgcad.training.tensors import at_times, augmented, shapes, thinned_breps
from pgcad.training.towers import Seen, Towers

_VIEWS_PER_STEP = 3
_WORD_DROP = 0.15
_MODALITY_DROP = 0.3


def shapes_of(
    towers: Towers, material: Material, rows: Tensor, seen: Seen | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Vectors of the shapes of `rows`, as they are and as a scanner or another program would give them."""
    other = int(torch.randint(1, VARIANTS, (1,), generator=generator))
    own, given = (_shape_of(towers, material, rows, seen, variant, generator) for variant in (0, other))
    return own, given


def _shape_of(
    towers: Towers, material: Material, rows: Tensor, seen: Seen | None, variant: int, generator: torch.Generator
) -> Tensor:
    """Through the graph network, or from what it saw."""
    features = material.corpus.variants[variant]
    if seen is None:
        vectors: Tensor = towers.shape(augmented(shapes(features, rows), generator))
        return vectors
    return towers.shape.head(seen.training[rows, variant].float(), at_times(features.whole[rows].float(), generator))


def brep_of(towers: Towers, material: Material, rows: Tensor, seen: Seen | None, generator: torch.Generator) -> Tensor:
    """Vectors of the B-reps of `rows`: through the graph network, or from what it saw."""
    if seen is None:
        vectors: Tensor = towers.brep(thinned_breps(material.corpus.breps, rows.tolist(), generator))
        return vectors
    measures = torch.cat([material.corpus.breps[row].measures for row in rows.tolist()]).float()
    return towers.brep.head(seen.training_brep[rows], measures)


def batch_loss(
    towers: Towers, material: Material, rows: Tensor, seen: Seen | None, generator: torch.Generator
) -> Tensor:
    """All pairs of modalities of the parts `rows`, and text with what the gallery holds: what is known, fused."""
    n = len(rows)
    shape, given_shape = shapes_of(towers, material, rows, seen, generator)
    brep = brep_of(towers, material, rows, seen, generator)
    duplicates = same_part(material.captions[rows], material.corpus.twins[rows])
    picked = torch.rand(n, TEXTS_PER_PART, generator=generator).topk(2).indices
    text, other_text = (
        towers.text(_thinned(material.texts[rows * TEXTS_PER_PART + picked[:, i]], generator)) for i in range(2)
    )
    views = material.corpus.views[rows]
    some = torch.rand(views.shape[:2], generator=generator).topk(_VIEWS_PER_STEP).indices
    looked = towers.image.head(views[torch.arange(n).unsqueeze(1), some].float().flatten(0, 1))
    view, *others = looked.view(n, _VIEWS_PER_STEP, -1).unbind(1)
    image = normalize(torch.stack(others).mean(0), dim=1)
    known = torch.rand(n, 3, 1, generator=generator) >= _MODALITY_DROP
    whole = normalize((torch.stack([image, shape, brep], 1) * known).sum(1) + 1e-3 * shape, dim=1)
    pairs = (
        (1.0, text, whole),
        (0.5, text, shape),
        (1.0, text, brep),
        (0.5, text, image),
        (0.5, view, shape),
        (0.5, view, image),
        (0.5, shape, brep),
        (1.0, given_shape, shape),
        (0.25, given_shape, brep),
        (0.25, text, other_text),
    )
    return torch.stack([weight * towers.loss(a, b, duplicates) for weight, a, b in pairs]).sum()


def _thinned(features: TextFeatures, generator: torch.Generator) -> TextFeatures:
    """The same texts with some words not looked up, so that no single word decides."""
    kept = torch.rand(features.words.shape, generator=generator) >= _WORD_DROP
    return TextFeatures(features.sentence, features.numbers, features.words * kept)
