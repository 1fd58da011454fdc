"""The questions that a space is measured by, each with the rank of the right part for every query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.corpus.captions import chinese
from pgcad.encoders.space import CadSpace
from pgcad.evaluation.gallery import Gallery
from pgcad.evaluation.lexical import lexical_scores
from pgcad.evaluation.outline_look import look_at_outlines
from pgcad.evaluation.probes import SHAPE_PROBES, Probe
from pgcad.evaluation.ranking import ranks, ranks_of
from pgcad.evaluation.second_look import look_again

NESTED_DIMS = (128, 256)
SCAN = "scan of one side"
PICTURE, DRAWING = LOOKS = "picture from a random side", "line drawing from a random side"
_CHUNK = 64


@dataclass(frozen=True)
class Task:
    """`rows` (n,): numbers of the queries' parts in the gallery; `rank` (n,): where each was found, 0 = first;
    `baseline` (n,): where words alone find it, for questions in words.
    """

    name: str
    rows: Tensor
    rank: Tensor
    baseline: Tensor | None = None


@dataclass(frozen=True)
class Questions:
    """Vectors (n, dim) of what is asked for the gallery's parts `rows` (n,); those of clouds by their names; of exact
    faces; and the clouds (n, 2048, 6) and pictures (n, 224, 224, 3) themselves.
    """

    rows: Tensor
    looks: dict[str, Tensor]
    clouds: dict[str, Tensor]
    breps: Tensor
    points: dict[str, NDArray[np.float32]]
    pictures: dict[str, NDArray[np.uint8]]


def text_tasks(space: CadSpace, gallery: Gallery, rows: Tensor, rng: Random) -> list[Task]:
    """Captions in English and Chinese against parts without names; the shorter vectors too."""
    english = [gallery.rows[row].caption for row in rows.tolist()]
    translated = [chinese(caption, rng) or caption for caption in english]
    tasks = []
    for name, texts, descriptions in (
        ("text, English", english, gallery.descriptions),
        ("text, Chinese", translated, gallery.descriptions_zh),
    ):
        vectors = text_vectors(space, texts)
        baseline = ranks_of(lexical_scores(texts, descriptions), rows, gallery.twins)
        tasks.append(Task(name, rows, ranks(vectors, gallery.text, rows, gallery.twins), baseline))
        tasks += [
            Task(
                f"{name}, first {dim} dimensions",
                rows,
                ranks(_first(vectors, dim), _first(gallery.text, dim), rows, gallery.twins),
            )
            for dim in NESTED_DIMS
        ]
    return tasks


def encode_probes(space: CadSpace, rows: Tensor, probes: Iterable[Probe]) -> Questions:
    """Vectors of what the probes hold."""
    looks, pictures, clouds, breps, points = [], [], [], [], []
    for done, probe in enumerate(probes, 1):
        pictures.append(np.stack([probe.picture, probe.drawing]))
        looks.append(space.embed_image(list(pictures[-1])))
        points.append(np.stack([*(probe.clouds[name] for name in SHAPE_PROBES), probe.scan]))
        clouds.append(space.embed_points(points[-1]))
        breps.append(space.embed_brep([probe.brep]))
        if done % 100 == 0:
            print(f"questions {done}/{len(rows)}", flush=True)
    return Questions(
        rows,
        dict(zip(LOOKS, torch.from_numpy(np.stack(looks, 1)), strict=True)),
        dict(zip((*SHAPE_PROBES, SCAN), torch.from_numpy(np.stack(clouds, 1)), strict=True)),
        torch.from_numpy(np.concatenate(breps)),
        dict(zip((*SHAPE_PROBES, SCAN), np.stack(points, 1), strict=True)),
        dict(zip(LOOKS, np.stack(pictures, 1), strict=True)),
    )


def picture_tasks(gallery: Gallery, questions: Questions, workers: int) -> list[Task]:
    """A picture from a random side, shaded or drawn, against the best of each part's ten views; with a second look."""
    rows, tasks = questions.rows, []
    for name, vectors in questions.looks.items():
        scores = best_view(vectors, gallery.views)
        tasks.append(Task(name, rows, ranks_of(scores, rows, gallery.twins)))
        [again] = look_at_outlines(scores, list(questions.pictures[name]), gallery, workers)
        tasks.append(Task(f"{name}, second look", rows, ranks_of(again.mixed(), rows, gallery.twins)))
        print(f"second look: {name}", flush=True)
    return tasks


def shape_tasks(gallery: Gallery, questions: Questions, workers: int) -> list[Task]:
    """Other files and scans of a part, among all parts, among those of its series, and with a second look."""
    rows, tasks = questions.rows, []
    series = torch.from_numpy(np.unique([row.series for row in gallery.rows], return_inverse=True)[1])
    siblings = torch.bincount(series)[series[rows]] > 1
    others = series.unsqueeze(0) != series[rows].unsqueeze(1)
    for name, vectors in questions.clouds.items():
        scores = vectors @ gallery.shape.T
        tasks.append(Task(f"shape: {name}", rows, ranks_of(scores, rows, gallery.twins)))
        within = ranks_of(scores.masked_fill(others, -torch.inf), rows, gallery.twins)
        tasks.append(Task(f"shape: {name}, among its series", rows[siblings], within[siblings]))
        again = look_again(scores, list(questions.points[name]), gallery, workers).mixed()
        tasks.append(Task(f"shape: {name}, second look", rows, ranks_of(again, rows, gallery.twins)))
        print(f"second look: {name}", flush=True)
    return tasks


def together_tasks(space: CadSpace, gallery: Gallery, questions: Questions, workers: int) -> list[Task]:
    """Text, picture and a scan of one side, alone and together, of the parts that have a caption."""
    captioned = torch.tensor([bool(gallery.rows[row].caption) for row in questions.rows.tolist()])
    rows = questions.rows[captioned]
    text = text_vectors(space, [gallery.rows[row].caption for row in rows.tolist()])
    alone = {
        "text": text @ gallery.text.T,
        "picture": best_view(questions.looks[PICTURE][captioned], gallery.views),
        "scan": questions.clouds[SCAN][captioned] @ gallery.shape.T,
    }
    asked = {**alone, "text, picture and scan": torch.stack(list(alone.values())).sum(0)}
    scans = list(questions.points[SCAN][captioned.numpy()])
    for name in ("scan", "text, picture and scan"):
        asked[f"{name}, second look"] = look_again(asked[name], scans, gallery, workers).mixed()
    return [Task(f"together: {name}", rows, ranks_of(scores, rows, gallery.twins)) for name, scores in asked.items()]


def text_vectors(space: CadSpace, texts: Sequence[str]) -> Tensor:
    """(n, dim) of queries."""
    return _in_chunks(lambda chunk: space.embed_text(chunk), texts)


def best_view(pictures: Tensor, views: Tensor) -> Tensor:
    """Cosines (n, m) of pictures (n, dim) with the best of each part's views (m, 10, dim), as search counts them."""
    best = pictures @ views[:, 0].T
    for number in range(1, views.shape[1]):
        best = torch.maximum(best, pictures @ views[:, number].T)
    return best


def _in_chunks(encode: Callable[[list[str]], np.ndarray], texts: Sequence[str]) -> Tensor:
    chunks = [list(texts[start : start + _CHUNK]) for start in range(0, len(texts), _CHUNK)]
    return torch.from_numpy(np.concatenate([encode(chunk) for chunk in chunks]))


def _first(vectors: Tensor, dim: int) -> Tensor:
    """The first `dim` dimensions of unit vectors, as unit vectors."""
    return normalize(vectors[:, :dim], dim=1)
