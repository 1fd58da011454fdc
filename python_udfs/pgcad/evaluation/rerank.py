"""What each score should count when parts are ranked: the evidence behind the rows of cad.fusion_weight.

    python -m pgcad.evaluation.rerank --split FILE --models FOLDER

Queries are captions, pictures, files and scans of the validation rows; the gallery is every validation and training
row, to pictures and scans with its caption. Prints recall for each mix of scores, best first, the mix that
cad.learn_weights would learn from them, what exact faces add to the points of a file, and recall for each weight of the
second look.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pgcad.cache import cache_folder
from pgcad.corpus.kicad import prepared_rows
from pgcad.corpus.split import Row, read_split
from pgcad.encoders.fusion import FusionWeights, fuse
from pgcad.encoders.space import CadSpace
from pgcad.evaluation.gallery import Gallery, encode_gallery
from pgcad.evaluation.outline_look import look_at_outlines
from pgcad.evaluation.probes import SHAPE_PROBES, probes
from pgcad.evaluation.ranking import ranks_of, recall
from pgcad.evaluation.second_look import SecondLook, look_again
from pgcad.evaluation.tasks import PICTURE, SCAN, Questions, best_view, encode_probes, text_vectors
from pgcad.training.rerank_weights import Judged, learn

_SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
_CANDIDATES = 200
_FACE_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
_RETRIANGULATED = SHAPE_PROBES[1]
_ALIKE = 10
_FIT_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables for command-line `arguments`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pgcad.evaluation.rerank", description=__doc__)
    parser.add_argument("--split", type=Path, required=True, help="split file: path, split, series, caption, tags")
    parser.add_argument("--models", type=Path, required=True, help="folder the paths of the split file start from")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read files")
    parser.add_argument("--seed", type=int, default=1, help="of pictures and scans (default: %(default)s)")
    options = parser.parse_args(arguments)
    folder = options.cache / "prepared" / "kicad"
    rows = [row for row in prepared_rows(read_split(options.split), folder) if row.split in ("train", "val")]
    space = CadSpace.load(None, "cpu")
    gallery = encode_gallery(space, rows, folder, options.cache)
    queries = gallery.queries(("val",))
    files = [options.models / rows[row].path for row in queries.tolist()]
    asked = encode_probes(space, queries, probes(files, options.seed, options.workers))
    print(f"{len(queries)} validation queries in {len(rows)} parts, {space.version}, seed {options.seed}\n")
    for kind, (targets, own, others) in _questions(space, gallery, asked).items():
        show(kind, targets, own, others, gallery.twins)
        show_learned(kind, targets, own, others, gallery.twins)
    show_faces(queries, asked, gallery)
    show_fused(queries, asked, gallery, space.fusion)
    for name, vectors in asked.looks.items():
        scores, pictures = best_view(vectors, gallery.views), list(asked.pictures[name])
        looks = look_at_outlines(scores, pictures, gallery, options.workers, _FIT_WEIGHTS)
        show_fit(name, queries, looks, gallery.twins)
    for name, vectors in asked.clouds.items():
        look = look_again(vectors @ gallery.shape.T, list(asked.points[name]), gallery, options.workers)
        show_fit(name, queries, [look] * len(_FIT_WEIGHTS), gallery.twins)
    return 0


def _questions(
    space: CadSpace, gallery: Gallery, asked: Questions
) -> dict[str, tuple[Tensor, Tensor, dict[str, Tensor]]]:
    """Kinds of questions: the parts (n,) that they ask for, their own score (n, m) of each part, and other scores."""
    captioned = gallery.queries(("val",), captioned=True)
    caption = text_vectors(space, [gallery.rows[row].caption for row in captioned.tolist()])
    picture, scan = asked.looks[PICTURE], asked.clouds[SCAN]
    text = torch.from_numpy(space.embed_text([_passage(row) for row in gallery.rows], "passage"))
    return {
        "caption": (captioned, caption @ gallery.text.T, _others(caption, gallery)),
        "picture": (asked.rows, best_view(picture, gallery.views), _others(picture, gallery, text=text, image=None)),
        "scan": (asked.rows, scan @ gallery.shape.T, _others(scan, gallery, text=text, shape=None)),
    }


def _others(asked: Tensor, gallery: Gallery, **instead: Tensor | None) -> dict[str, Tensor]:
    """Cosines (n, m) of a question (n, dim) with the other vectors of parts; None for what is its own."""
    stored = {"image": gallery.image, "shape": gallery.shape, "brep": gallery.brep, **instead}
    return {name: asked @ vectors.T for name, vectors in stored.items() if vectors is not None}


def show(kind: str, targets: Tensor, own: Tensor, others: dict[str, Tensor], twins: Tensor) -> None:
    """Print recall for the query's own score plus shares of the other ones, best first."""
    names = list(others)
    mixes = []
    for shares in product(_SHARES, repeat=len(names)):
        scores = own + sum(share * others[name] for share, name in zip(shares, names, strict=True))
        rank = ranks_of(scores, targets, twins)
        mixes.append((recall(rank, 1), recall(rank, 10), shares))
    print(f"| {kind} query: share of {', of '.join(names)} | R@1 | R@10 |\n|---|---|---|")
    for first, ten, shares in sorted(mixes, reverse=True)[:8]:
        print(f"| {', '.join(map(str, shares))} | {first:.3f} | {ten:.3f} |")
    print()


def show_learned(kind: str, targets: Tensor, own: Tensor, others: dict[str, Tensor], twins: Tensor) -> None:
    """Print the mix that is learned from the candidates nearest by the query's own score, from that score alone on."""
    nearest = own.topk(_CANDIDATES, dim=1).indices
    right = twins[nearest] == twins[targets].unsqueeze(1)
    found = right.any(1)
    scores = torch.stack([own, *others.values()], dim=2).gather(1, nearest.unsqueeze(2).expand(-1, -1, 1 + len(others)))
    judged = Judged(
        np.repeat(np.arange(int(found.sum())), _CANDIDATES),
        right[found].flatten().numpy(),
        scores[found].flatten(0, 1).double().numpy(),
    )
    learned = learn(judged, np.array([1.0] + [0.0] * len(others)))
    mix, gain = ", ".join(f"{weight:.3f}" for weight in learned.weights), learned.gain
    print(f"| {kind} query: learned weights of own, {', '.join(others)} | R@1 before | R@1 | gain in MRR, 95 % |")
    print("|---|---|---|---|")
    print(f"| {mix} | {learned.r1_before:.3f} | {learned.r1:.3f} | {gain.low:.3f} to {gain.high:.3f} |\n", flush=True)


def show_faces(targets: Tensor, asked: Questions, gallery: Gallery) -> None:
    """Print what the exact faces of a part, turned, add to the points of a file of it that has other triangles: recall
    among all parts and among those of its series; and how many of the ten parts most like one are of its series.
    """
    series = torch.from_numpy(np.unique([row.series for row in gallery.rows], return_inverse=True)[1])
    related = series.unsqueeze(0) == series[targets].unsqueeze(1)
    related_others = related.scatter(1, targets.unsqueeze(1), value=False)
    some = related_others.sum(1) > 0
    print("| a STEP file: weight of its faces | R@1 | R@1 among its series | ten most alike of its series |")
    print("|---|---|---|---|")
    for weight in _FACE_WEIGHTS:
        scores = asked.clouds[_RETRIANGULATED] @ gallery.shape.T + weight * (asked.breps @ gallery.brep.T)
        within = scores.masked_fill(~related, -torch.inf)[some]
        alike = gallery.shape[targets] @ gallery.shape.T + weight * (gallery.brep[targets] @ gallery.brep.T)
        nearest = alike.scatter(1, targets.unsqueeze(1), value=-torch.inf).topk(_ALIKE, dim=1).indices
        hits = related_others.gather(1, nearest).sum(1) / related_others.sum(1).clamp(1, _ALIKE)
        figures = (
            recall(ranks_of(scores, targets, gallery.twins), 1),
            recall(ranks_of(within, targets[some], gallery.twins), 1),
            float(hits[some].mean()),
        )
        print(f"| {weight:g} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
    print(flush=True)


def show_fused(targets: Tensor, asked: Questions, gallery: Gallery, weights: FusionWeights) -> None:
    """Print recall by the fused vectors, which candidates come by, of such a file without its faces and with them."""
    stored = fuse(weights, gallery.text, gallery.image, gallery.shape, gallery.brep)
    print("| a STEP file in one vector, made of its | R@1 | R@10 |\n|---|---|---|")
    for made_of, brep in (("points", None), ("points and faces", asked.breps)):
        file = fuse(weights, shape=asked.clouds[_RETRIANGULATED], brep=brep)
        rank = ranks_of(file @ stored.T, targets, gallery.twins)
        print(f"| {made_of} | {recall(rank, 1):.3f} | {recall(rank, 10):.3f} |")
    print(flush=True)


def show_fit(name: str, targets: Tensor, looks: Sequence[SecondLook], twins: Tensor) -> None:
    """Print recall for each weight of how well the first hits fit."""
    print(f"| {name}: weight of the fit | R@1 | R@10 |\n|---|---|---|")
    for weight, look in zip(_FIT_WEIGHTS, looks, strict=True):
        rank = ranks_of(look.mixed(weight), targets, twins)
        print(f"| {weight:g} | {recall(rank, 1):.3f} | {recall(rank, 10):.3f} |")
    print(flush=True)


def _passage(row: Row) -> str:
    return f"{Path(row.path).stem}. {row.caption}"


if __name__ == "__main__":
    raise SystemExit(main())
