"""Everything that a training reads, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pgcad.corpus.captions import PASSAGE_TEXT, TEXTS_PER_PART
from pgcad.corpus.parts import Part
from pgcad.encoders.checkpoint import state_sha256
from pgcad.encoders.image import ImageTower
from pgcad.encoders.text import TextFeatures
from pgcad.training.dataset import Dataset
from pgcad.training.features import image_features, text_features
from pgcad.training.tensors import Corpus, load_corpus


@dataclass(frozen=True)
class Material:
    """Everything in memory: training parts, their texts (n × TEXTS_PER_PART rows) and the validation set."""

    corpus: Corpus
    texts: TextFeatures
    captions: Tensor
    validation: Corpus
    queries: TextFeatures
    targets: Tensor
    families: list[str]


def load_material(dataset: Dataset, image: ImageTower, cache: Path, workers: int) -> Material:
    """Features of all parts and texts of the dataset; what the frozen networks say is kept in `cache`."""
    store, geometry = cache / "features" / state_sha256(image.backbone), cache / "geometry"
    parts, queries = dataset.training, dataset.queries
    corpus = load_corpus(parts, image_features(image.backbone, parts, store), geometry, workers)
    return Material(
        corpus=corpus,
        texts=_texts(parts, cache),
        captions=labels([part.caption for part in parts]),
        validation=load_corpus(
            dataset.gallery, image_features(image.backbone, dataset.gallery, store), geometry, workers
        ),
        queries=text_features([query.text for query in queries], cache / "queries.npz"),
        targets=torch.arange(len(queries)),
        families=[query.family for query in queries],
    )


def _texts(parts: Sequence[Part], cache: Path) -> TextFeatures:
    """Features of all texts of all parts, row part × TEXTS_PER_PART + text; the passage in the role of a passage."""
    texts = [text for part in parts for text in part.texts]
    passages = text_features(texts[PASSAGE_TEXT::TEXTS_PER_PART], cache / "passages.npz", "passage")
    del texts[PASSAGE_TEXT::TEXTS_PER_PART]
    queries = text_features(texts, cache / "queries.npz")
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
