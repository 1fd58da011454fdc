"""What is learned from a batch: the texts, pictures, points and B-reps of one part belong together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.corpus.captions import TEXTS_PER_PART
from pgcad.encoders.text import TextFeatures
from pgcad.training.device import device_of, on, short_floats
from pgcad.training.losses import same_part
from pgcad.training.material import Material
from pgcad.training.shapes import VARIANTS
from pgcad.training.tensors import at_times, augmented, shapes, thinned_breps
from pgcad.training.towers import Seen, Towers

_VIEWS_PER_STEP = 3
_WORD_DROP = 0.15
_MODALITY_DROP = 0.3


# How much each pair counts. `whole` is what the gallery holds: all that is known of a part but its text, fused;
# `given_shape` is the shape as another program or a scanner gives it.
PAIRS = (
    ("text", "whole", 1.0),
    ("text", "shape", 0.5),
    ("text", "brep", 1.0),
    ("text", "image", 0.5),
    ("view", "shape", 0.5),
    ("view", "image", 0.5),
    ("shape", "brep", 0.5),
    ("given_shape", "shape", 1.0),
    ("given_shape", "brep", 0.25),
    ("text", "other_text", 0.25),
)
_FEWEST = 2  # a part by itself has nothing to be told apart from


def batch_losses(
    towers: Towers, material: Material, rows: Tensor, seen: Seen | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """The weighted loss of each of PAIRS over the parts `rows`; each pair over the parts that have both.

    A pair that fewer than two parts have is left out.
    """
    device = device_of(towers)
    vectors = _vectors(towers, material, rows, seen, generator)
    duplicates = same_part(material.captions[rows], material.corpus.twins[rows]).to(device)
    everything = torch.ones(len(rows), dtype=torch.bool)
    has = {"text": material.has_text[rows], "brep": material.has_brep[rows]}
    losses = {}
    for a, b, weight in PAIRS:
        both = (has.get(a, everything) & has.get(b, everything)).nonzero().flatten()
        if len(both) >= _FEWEST:
            both = both.to(device)
            loss = towers.loss(vectors[a][both], vectors[b][both], duplicates[both][:, both])
            losses[f"{a}-{b}"] = weight * loss
    return losses


def _vectors(
    towers: Towers, material: Material, rows: Tensor, seen: Seen | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """What PAIRS are made of: vectors (n, dim) of the parts `rows`, anything for what a part has not."""
    device = device_of(towers)
    other = int(torch.randint(1, VARIANTS, (1,), generator=generator))
    brep = _brep(towers, material, rows, seen, generator)  # its sums over all faces of a part need float32
    with short_floats(device):
        shape, given_shape = (_shape(towers, material, rows, seen, variant, generator) for variant in (0, other))
        text, other_text = _texts(towers, material, rows, generator)
        view, image = _pictures(towers, material, rows, generator)
    known = torch.rand(len(rows), 3, 1, generator=generator) >= _MODALITY_DROP
    known[:, 2, 0] &= material.has_brep[rows]
    image, shape = image.float(), shape.float()
    whole = normalize((torch.stack([image, shape, brep], 1) * known.to(device)).sum(1) + 1e-3 * shape, dim=1)
    return {
        "text": text.float(),
        "other_text": other_text.float(),
        "view": view.float(),
        "image": image,
        "shape": shape,
        "given_shape": given_shape.float(),
        "brep": brep,
        "whole": whole,
    }


def _shape(
    towers: Towers, material: Material, rows: Tensor, seen: Seen | None, variant: int, generator: torch.Generator
) -> Tensor:
    """Vectors of a variant of the shapes of `rows`: through the graph network, or from what it saw."""
    device, features = device_of(towers), material.corpus.variants[variant]
    if seen is None:
        vectors: Tensor = towers.shape(on(device, augmented(shapes(features, rows), generator)))
        return vectors
    signatures = at_times(features.whole[rows].float(), generator)
    return towers.shape.head(seen.training[rows, variant].float().to(device), signatures.to(device))


def _brep(towers: Towers, material: Material, rows: Tensor, seen: Seen | None, generator: torch.Generator) -> Tensor:
    """Vectors of the B-reps of `rows`: through the graph network, or from what it saw."""
    device = device_of(towers)
    if seen is None:
        vectors: Tensor = towers.brep(on(device, thinned_breps(material.corpus.breps, rows.tolist(), generator)))
        return vectors
    measures = torch.cat([material.corpus.breps[row].measures for row in rows.tolist()]).float()
    return towers.brep.head(seen.training_brep[rows].to(device), measures.to(device))


def _texts(towers: Towers, material: Material, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Vectors of two different texts of each part; of a part without text, those of another one, to be left out."""
    picked = torch.rand(len(rows), TEXTS_PER_PART, generator=generator).topk(2).indices
    first = material.text_row[rows].clamp_min(0) * TEXTS_PER_PART
    thinned = [_thinned(material.texts[first + picked[:, i]], generator) for i in range(2)]
    one, other = (towers.text(on(device_of(towers), features)) for features in thinned)
    return one, other


def _pictures(towers: Towers, material: Material, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Vectors of one view of each part, and of the mean of some others."""
    n, views = len(rows), material.corpus.views[rows]
    some = torch.rand(views.shape[:2], generator=generator).topk(_VIEWS_PER_STEP).indices
    chosen = views[torch.arange(n).unsqueeze(1), some].float().flatten(0, 1)
    vectors = towers.image.head(chosen.to(device_of(towers))).view(n, _VIEWS_PER_STEP, -1)
    return vectors[:, 0], normalize(vectors[:, 1:].mean(1), dim=1)


def _thinned(features: TextFeatures, generator: torch.Generator) -> TextFeatures:
    """The same texts with some words not looked up, so that no single word decides."""
    kept = torch.rand(features.words.shape, generator=generator) >= _WORD_DROP
    return TextFeatures(features.sentence, features.numbers, features.words * kept)
