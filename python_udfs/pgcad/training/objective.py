"""What is learned from a batch: the texts, pictures, points and B-reps of one part belong together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.corpus.captions import TEXTS_PER_PART
from pgcad.encoders.brep import together
from pgcad.encoders.text import TextFeatures
from pgcad.training.losses import same_part
from pgcad.training.material import Material
from pgcad.training.tensors import augmented, noisy_whole, shapes
from pgcad.training.towers import Seen, Towers

GRAPH_VARIANTS = 4
_VIEWS_PER_STEP = 3
_WORD_DROP = 0.15
_MODALITY_DROP = 0.3


def shape_of(towers: Towers, material: Material, rows: Tensor, seen: Seen | None, generator: torch.Generator) -> Tensor:
    """Vectors of the shapes of `rows`, augmented: through the graph network, or from what it saw."""
    half = material.corpus.halves[int(torch.randint(0, 2, (1,), generator=generator))]
    features = shapes(half, rows)
    if seen is None:
        vectors: Tensor = towers.shape(augmented(features, generator))
        return vectors
    variant = torch.randint(0, GRAPH_VARIANTS, (len(rows),), generator=generator)
    return towers.shape.head(seen.training[rows, variant].float(), noisy_whole(features, generator))


def brep_of(towers: Towers, material: Material, rows: Tensor, seen: Seen | None) -> Tensor:
    """Vectors of the B-reps of `rows`: through the graph network, or from what it saw."""
    features = [material.corpus.breps[row] for row in rows.tolist()]
    if seen is None:
        vectors: Tensor = towers.brep(together(features))
        return vectors
    measures = torch.cat([brep.measures for brep in features])
    return towers.brep.head(seen.training_brep[rows], measures)


def batch_loss(
    towers: Towers, material: Material, rows: Tensor, shape: Tensor, brep: Tensor, generator: torch.Generator
) -> Tensor:
    """All pairs of modalities of the parts `rows`, and text with what the gallery holds: what is known, fused."""
    n = len(rows)
    duplicates = same_part(material.captions[rows], material.corpus.twins[rows])
    picked = torch.rand(n, TEXTS_PER_PART, generator=generator).topk(2).indices
    text, other_text = (
        towers.text(_thinned(material.texts[rows * TEXTS_PER_PART + picked[:, i]], generator)) for i in range(2)
    )
    views = material.corpus.views[rows]
    some = torch.rand(views.shape[:2], generator=generator).topk(_VIEWS_PER_STEP).indices
    seen = towers.image.head(views[torch.arange(n).unsqueeze(1), some].float().flatten(0, 1)).view(
        n, _VIEWS_PER_STEP, -1
    )
    view, image = seen[:, 0], normalize(seen[:, 1:].mean(1), dim=1)
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
        (0.25, text, other_text),
    )
    return torch.stack([weight * towers.loss(a, b, duplicates) for weight, a, b in pairs]).sum()


def _thinned(features: TextFeatures, generator: torch.Generator) -> TextFeatures:
    """The same texts with some words not looked up, so that no single word decides."""
    kept = torch.rand(features.words.shape, generator=generator) >= _WORD_DROP
    return TextFeatures(features.sentence, features.numbers, features.words * kept)
