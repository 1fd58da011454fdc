"""`pgcad train`: from a folder of models and a split file to the weights of the default space."""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pgcad.cache import cache_folder
from pgcad.corpus.captions import PASSAGE_TEXT, TEXTS_PER_PART, texts_of, training_rows
from pgcad.corpus.kicad import prepare_rows, prepared_rows
from pgcad.corpus.parts import Part
from pgcad.corpus.records import load_record
from pgcad.corpus.split import Row, read_split
from pgcad.corpus.standard_parts import prepare_standard_parts
from pgcad.corpus.twins import twin_labels
from pgcad.encoders.brep import BrepTower, together
from pgcad.encoders.checkpoint import save_checkpoint, state_sha256
from pgcad.encoders.fusion import FusionWeights, fuse
from pgcad.encoders.image import ImageTower
from pgcad.encoders.shape import ShapeTower
from pgcad.encoders.text import TextFeatures, TextTower
from pgcad.evaluation.ranking import mean_by_family, ranks, recall
from pgcad.training.encode import (
    brep_pooled,
    brep_vectors,
    image_vectors,
    pooled_vectors,
    shape_vectors,
    text_vectors,
    view_vectors,
)
from pgcad.training.features import image_features, text_features
from pgcad.training.image import Album, ImageOptions, ImageStudent, nearest_views, train_images
from pgcad.training.losses import NestedInfoNce, same_part
from pgcad.training.pictures import load_pictures
from pgcad.training.tensors import Corpus, augmented, load_corpus, noisy_whole, shapes

_VIEWS_PER_STEP = 3
_VALIDATION_DISTRACTORS = 1000
_VALIDATE_EVERY = 5
_WEIGHT_GRID = (0.25, 0.5, 1.0, 2.0)
_WARM_UP_STEPS = 20
_WEIGHT_DECAY = 0.02
_GRAPH_BATCH = 128
_GRAPH_VARIANTS = 4
_WORD_DROP = 0.15
_MODALITY_DROP = 0.3


@dataclass(frozen=True)
class Options:
    """Command-line options; see `pgcad train --help`."""

    split: Path
    models: Path
    out: Path
    cache: Path
    image_minutes: float
    graph_epochs: int
    epochs: int
    batch: int
    learning_rate: float
    seed: int
    workers: int
    minutes: float
    resume: bool
    only_prepared: bool


@dataclass(frozen=True)
class Chosen:
    """The parts to train on, the validation rows whose captions are queries, and the gallery they are looked for in,
    which begins with their own parts.
    """

    training: list[Part]
    queries: list[Row]
    gallery: list[Part]


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


@dataclass(frozen=True)
class Seen:
    """What the frozen graph networks see of points and of B-reps: of the training parts, the points in variants
    (n, variants, width), and of the validation gallery.
    """

    training: Tensor
    training_brep: Tensor
    validation: Tensor
    validation_brep: Tensor


class Towers(nn.Module):
    """The three towers and the temperature, trained together."""

    def __init__(self, image: ImageTower) -> None:
        super().__init__()
        self.text, self.image, self.shape, self.brep = TextTower(), image, ShapeTower(), BrepTower()
        self.image.backbone.requires_grad_(False)
        self.loss = NestedInfoNce()

    def named(self) -> dict[str, nn.Module]:
        return {"text": self.text, "image": self.image, "shape": self.shape, "brep": self.brep}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pgcad train` with command-line `arguments`; returns the exit status."""
    options = _parse(arguments)
    torch.manual_seed(options.seed)
    chosen = _prepared(options)
    image = _image_tower(chosen.training, options)
    material = _material(chosen, image, options)
    towers = Towers(image)
    best = _fit(towers, material, options)
    print(f"best on validation: R@10 {best:.3f}; weights in {options.out}")
    return 0


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="pgcad train", description=__doc__)
    parser.add_argument("--split", type=Path, required=True, help="split file: path, split, series, caption, tags")
    parser.add_argument("--models", type=Path, required=True, help="folder the paths of the split file start from")
    out_help = "folder for the weights, which pgcad serve --weights then reads (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("weights/cad"), help=out_help)
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    image_help = "how long the image backbone learns, 0 for not at all (default: %(default)s); kept in --cache"
    parser.add_argument("--image-minutes", type=float, default=60.0, help=image_help)
    parser.add_argument("--graph-epochs", type=int, default=6, help="epochs in which the graph network learns too")
    parser.add_argument("--epochs", type=int, default=80, help="epochs after that, for the projections alone")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2, help="processes that prepare data")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop training after this long")
    parser.add_argument("--resume", action="store_true", help="go on from the last finished epoch")
    parser.add_argument("--only-prepared", action="store_true", help="train on what is prepared already")
    return Options(**vars(parser.parse_args(arguments)))


def _prepared(options: Options) -> Chosen:
    """Prepare what is not, and say what is learned from and what the weights are chosen by."""
    rows = [row for row in read_split(options.split) if row.split in ("train", "val")]
    folder = prepare_rows(rows, options.models, options.cache, options.workers, options.only_prepared)
    rows = prepared_rows(rows, folder)
    training = [
        Part(folder, row.path, tuple(texts_of(row, random.Random(row.path))), row.caption or row.path)
        for row in training_rows(rows)
    ]
    training += prepare_standard_parts(options.cache, options.workers, options.only_prepared)
    queries = [row for row in rows if row.split == "val" and row.caption]
    others = training_rows(rows)
    distractors = random.Random(options.seed).sample(others, min(_VALIDATION_DISTRACTORS, len(others)))
    gallery = [Part(folder, row.path, (), row.caption) for row in [*queries, *distractors]]
    print(f"{len(training)} parts to train on, {len(queries)} validation queries in {len(gallery)} parts", flush=True)
    return Chosen(training, queries, gallery)


def _image_tower(parts: Sequence[Part], options: Options) -> ImageTower:
    """The image tower after its own lessons, from the cache where it has had them."""
    if not options.image_minutes:
        return ImageStudent().tower.eval()
    digest = hashlib.sha256("\n".join(part.key for part in parts).encode()).hexdigest()[:12]
    file = options.cache / "image-tower" / f"{digest}-{options.seed}-{options.image_minutes:g}.pt"
    student = ImageStudent()
    if file.exists():
        student.load_state_dict(torch.load(file, weights_only=True))
        return student.tower.eval()
    keys = [part.key for part in parts]
    album = Album(
        load_pictures(parts, file.with_name(f"{digest}.pictures"), options.workers),
        nearest_views(keys),
        _labels([key.partition("/")[0] for key in keys]),
        torch.from_numpy(twin_labels([load_record(part.folder, part.key).points for part in parts])),
    )
    train_images(student, album, ImageOptions(seed=options.seed, minutes=options.image_minutes))
    torch.save(student.state_dict(), file)
    return student.tower.eval()


def _material(chosen: Chosen, image: ImageTower, options: Options) -> Material:
    store = options.cache / "features" / state_sha256(image.backbone)
    parts, queries = chosen.training, chosen.queries
    corpus = load_corpus(parts, image_features(image.backbone, parts, store), halves=2)
    return Material(
        corpus=corpus,
        texts=_texts(parts, options.cache),
        captions=_labels([part.caption for part in parts]),
        validation=load_corpus(chosen.gallery, image_features(image.backbone, chosen.gallery, store)),
        queries=text_features([row.caption for row in queries], options.cache / "queries.npz"),
        targets=torch.arange(len(queries)),
        families=[row.family for row in queries],
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


def _labels(names: Sequence[str]) -> Tensor:
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])


def _fit(towers: Towers, material: Material, options: Options) -> float:
    """Train everything together for the first epochs; then freeze the graph network, whose passes cost most of the
    time, and go on with what it sees. Keeps the weights that are best on validation; returns their R@10.
    """
    state_file = options.cache / "train-state.pt"
    optimiser = torch.optim.AdamW(towers.parameters(), lr=options.learning_rate, weight_decay=_WEIGHT_DECAY)
    first, best = _restore(state_file, towers, optimiser) if options.resume and state_file.exists() else (0, 0.0)
    last = options.graph_epochs + options.epochs
    seen: Seen | None = None
    started = time.monotonic()
    for epoch in range(first, last):
        generator = torch.Generator().manual_seed(options.seed * 1000 + epoch)
        if epoch >= options.graph_epochs and seen is None:
            seen = _freeze_graph(towers, material, options.seed)
        loss = _epoch(towers, material, optimiser, options, epoch, seen, generator)
        if epoch < options.graph_epochs or epoch % _VALIDATE_EVERY == 0 or epoch == last - 1:
            weights, found = _choose_fusion(towers, material, seen)
            if found >= best:
                best = found
                save_checkpoint(options.out, towers.named(), weights)
            elapsed = (time.monotonic() - started) / 60
            print(
                f"epoch {epoch + 1}/{last} loss {loss:.3f} validation R@10 {found:.3f} (best {best:.3f}) {weights} "
                f"scale {towers.loss.log_scale.exp().item():.1f} {elapsed:.1f} min",
                flush=True,
            )
            _store(state_file, towers, optimiser, epoch + 1, best)
            if elapsed > options.minutes:
                break
    return best


def _freeze_graph(towers: Towers, material: Material, seed: int) -> Seen:
    """Stop training the graph networks; returns what they see of the parts, of points in several augmentations."""
    shape, brep = towers.shape, towers.brep
    for module in (shape.point, shape.fine, shape.middle, shape.wide, shape.mix, brep.grid, brep.face, brep.rounds):
        module.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    variants = [pooled_vectors(towers.shape, material.corpus, generator).half() for _ in range(_GRAPH_VARIANTS)]
    return Seen(
        torch.stack(variants, 1),
        brep_pooled(brep, material.corpus),
        pooled_vectors(shape, material.validation),
        brep_pooled(brep, material.validation),
    )


def _rate(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def _epoch(
    towers: Towers,
    material: Material,
    optimiser: torch.optim.Optimizer,
    options: Options,
    epoch: int,
    seen: Seen | None,
    generator: torch.Generator,
) -> float:
    """One pass over the training parts; returns the mean loss. Each phase has its own curve of the learning rate."""
    towers.train()
    batch = _GRAPH_BATCH if seen is None else options.batch
    epochs, begun = (options.graph_epochs, 0) if seen is None else (options.epochs, options.graph_epochs)
    per_epoch = len(material.captions) // batch
    losses = []
    order = torch.randperm(len(material.captions), generator=generator)[: per_epoch * batch]
    for step, rows in enumerate(order.split(batch), (epoch - begun) * per_epoch):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * _rate(step, epochs * per_epoch)
        shape, brep = _shape(towers, material, rows, seen, generator), _brep(towers, material, rows, seen)
        loss = _batch_loss(towers, material, rows, shape, brep, generator)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(towers.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return sum(losses) / max(1, len(losses))


def _shape(towers: Towers, material: Material, rows: Tensor, seen: Seen | None, generator: torch.Generator) -> Tensor:
    """Vectors of the shapes of `rows`, augmented: through the graph network, or from what it saw."""
    half = material.corpus.halves[int(torch.randint(0, 2, (1,), generator=generator))]
    features = shapes(half, rows)
    if seen is None:
        vectors: Tensor = towers.shape(augmented(features, generator))
        return vectors
    variant = torch.randint(0, _GRAPH_VARIANTS, (len(rows),), generator=generator)
    return towers.shape.head(seen.training[rows, variant].float(), noisy_whole(features, generator))


def _brep(towers: Towers, material: Material, rows: Tensor, seen: Seen | None) -> Tensor:
    """Vectors of the B-reps of `rows`: through the graph network, or from what it saw."""
    features = [material.corpus.breps[row] for row in rows.tolist()]
    if seen is None:
        vectors: Tensor = towers.brep(together(features))
        return vectors
    measures = torch.cat([brep.measures for brep in features])
    return towers.brep.head(seen.training_brep[rows], measures)


def _batch_loss(
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


def _choose_fusion(towers: Towers, material: Material, seen: Seen | None) -> tuple[FusionWeights, float]:
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


def _store(file: Path, towers: Towers, optimiser: torch.optim.Optimizer, epoch: int, best: float) -> None:
    partial = file.with_suffix(".partial")
    torch.save(
        {"towers": towers.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch, "best": best}, partial
    )
    partial.rename(file)


def _restore(file: Path, towers: Towers, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    state: dict[str, Any] = torch.load(file, weights_only=True)
    towers.load_state_dict(state["towers"])
    optimiser.load_state_dict(state["optimiser"])
    return state["epoch"], state["best"]
