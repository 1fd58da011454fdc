"""Everything that a training reads, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pgcad.corpus.captions import PASSAGE_TEXT, TEXTS_PER_PART
from pgcad.corpus.parts import Part
from pgcad.corpus.records import holds_brep
from pgcad.encoders.brep import BrepFeatures, brep_features
from pgcad.encoders.checkpoint import state_sha256
from pgcad.encoders.image import ImageTower
from pgcad.encoders.text import TextFeatures
from pgcad.geometry.brep_graph import CURVE_POINTS, GRID, BrepGraph
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
    parts, queries = dataset.training, dataset.queries
    has_brep, validation_has_brep = _with_brep(parts), _with_brep(dataset.gallery)
    corpus = load_corpus(parts, image_features(image.backbone, parts, store, device), geometry, workers)
    views = image_features(image.backbone, dataset.gallery, store, device)
    validation = load_corpus(dataset.gallery, views, geometry, workers)
    has_text = torch.tensor([bool(part.texts) for part in parts])
    return Material(
        corpus=_aligned(corpus, has_brep),
        texts=_texts([part for part in parts if part.texts], cache, device),
        text_row=(has_text.cumsum(0) - 1).masked_fill(~has_text, -1),
        has_text=has_text,
        has_brep=has_brep,
        captions=labels([part.caption for part in parts]),
        part_families=labels([part.family for part in parts]),
        validation=_aligned(validation, validation_has_brep),
        validation_has_brep=validation_has_brep,
        queries=text_features([query.text for query in queries], cache / "queries.npz", device=device),
        targets=torch.arange(len(queries)),
        families=[query.family for query in queries],
    )


def _with_brep(parts: Sequence[Part]) -> Tensor:
    return torch.tensor([holds_brep(part.folder, part.key) for part in parts])


def _aligned(corpus: Corpus, has_brep: Tensor) -> Corpus:
    """The corpus with a graph for each part, empty for those without a B-rep, which are left out as it is loaded."""
    loaded, empty = iter(corpus.breps), _empty_brep()
    return replace(corpus, breps=[next(loaded) if known else empty for known in has_brep.tolist()])


def _empty_brep() -> BrepFeatures:
    none, numbers, points = np.zeros(0, np.float32), np.zeros(0, np.uint8), np.zeros((0, 3), np.float32)
    graph = BrepGraph(
        face_type=numbers,
        area_mm2=none,
        radius_mm=none,
        centroid_mm=points,
        grid=np.zeros((0, GRID, GRID, 7), np.float32),
        pair=np.zeros((0, 2), np.int32),
        curve_type=numbers,
        length_mm=none,
        curve=np.zeros((0, CURVE_POINTS, 3), np.float32),
    )
    return brep_features([graph])


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
