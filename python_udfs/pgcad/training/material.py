"""Everything that a training reads, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pgcad.corpus.captions import PASSAGE_TEXT, TEXTS_PER_PART
from pgcad.corpus.parts import Part
from pgcad.corpus.records import holds_brep
from pgcad.encoders.checkpoint import state_sha256
from pgcad.encoders.image import ImageTower
from pgcad.encoders.text import TextFeatures
from pgcad.training.dataset import Dataset
from pgcad.training.features import image_features, text_features
from pgcad.training.tensors import Corpus, load_corpus


@dataclass(frozen=True)
class Material:
    """Everything in memory, on the CPU.

    Of n training parts: `corpus`; `texts`, TEXTS_PER_PART rows for each part that has any, and `text_row` (n,): the
    part's place among those, -1 for none; `has_text` and `has_brep` (n,) bool; `captions` and `part_families` (n,) as
    numbers. Of the validation set: the gallery, the queries, the row of the gallery that is right for each (`targets`),
    its family, and which parts of the gallery have a B-rep. A part without one has an empty graph in its place.
    """

    corpus: Corpus
    texts: TextFeatures
    text_row: Tensor
    has_text: Tensor
    has_brep: Tensor
    captions: Tensor
    part_families: Tensor
    validation: Corpus
    validation_has_brep: Tensor
    queries: TextFeatures
    targets: Tensor
    families: list[str]


def load_material(dataset: Dataset, image: ImageTower, cache: Path, workers: int, device: torch.device) -> Material:
    """Features of all parts and texts of the dataset; what the frozen networks say, computed on `device`, is kept in
    `cache`.
    """
    store, geometry = cache / "features" / state_sha256(image.backbone), cache / "geometry"
    parts, queries, gallery = dataset.training, dataset.queries, dataset.gallery
    has_text = torch.tensor([bool(part.texts) for part in parts])
    return Material(
        corpus=load_corpus(parts, image_features(image.backbone, parts, store, device), geometry, workers),
        texts=_texts([part for part in parts if part.texts], cache, device),
        text_row=(has_text.cumsum(0) - 1).masked_fill(~has_text, -1),
        has_text=has_text,
        has_brep=_with_brep(parts),
        captions=labels([part.caption for part in parts]),
        part_families=labels([part.family for part in parts]),
        validation=load_corpus(gallery, image_features(image.backbone, gallery, store, device), geometry, workers),
        validation_has_brep=_with_brep(gallery),
        queries=text_features([query.text for query in queries], cache / "queries.npz", device=device),
        targets=torch.arange(len(queries)),
        families=[query.family for query in queries],
    )


def _with_brep(parts: Sequence[Part]) -> Tensor:
    return torch.tensor([holds_brep(part.folder, part.key) for part in parts])


def _texts(parts: Sequence[Part], cache: Path, device: torch.device) -> TextFeatures:
    """Features of all texts of all parts, row part × TEXTS_PER_PART + text; the passage in the role of a passage."""
    texts = [text for part in parts for text in part.texts]
    passages = text_features(texts[PASSAGE_TEXT::TEXTS_PER_PART], cache / "passages.npz", "passage", device)
    del texts[PASSAGE_TEXT::TEXTS_PER_PART]
    queries = text_features(texts, cache / "queries.npz", device=device)
    return _interleaved(queries, passages)


def _interleaved(queries: TextFeatures, passages: TextFeatures) -> TextFeatures:
    """Put the passages back in their places among the other texts of each part."""

    def weave(query: Tensor, passage: Tensor) -> Tensor:
        of_part = query.view(len(passage), TEXTS_PER_PART - 1, -1)
        before, after = of_part[:, :PASSAGE_TEXT], of_part[:, PASSAGE_TEXT:]
        return torch.cat([before, passage.unsqueeze(1), after], 1).flatten(0, 1)

    return TextFeatures(
        weave(queries.sentence, passages.sentence),
        weave(queries.numbers, passages.numbers),
        weave(queries.words, passages.words),
    )


def labels(names: Sequence[str]) -> Tensor:
    """(n,): the same number for the same name."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])
