"""`pgcad eval`: how well the default space finds parts it has never seen, with all names and captions hidden.

The gallery is every model of the split file. Queries are the captions, pictures and shapes of its test rows and of
families that training never saw.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.cache import cache_folder
from pgcad.encoders.fusion import fuse
from pgcad.encoders.space import CadSpace
from pgcad.training.corpus import CANONICAL_VIEWS, Part, load_corpus
from pgcad.training.encode import image_vectors, shape_vectors, view_vectors
from pgcad.training.losses import NESTED_DIMS
from pgcad.training.ranking import neighbour_agreement, ranks, recall
from pgcad.training.split import Row, read_split
from pgcad.training.train import prepare_rows, prepared_rows

QUERY_SPLITS = {"test": ("test",), "unseen_family": ("unseen_family",), "both": ("test", "unseen_family")}
_QUERY_VIEW = CANONICAL_VIEWS
_TABLE_HEAD = "| task | queries | rows | R@1 | R@10 | R@1 by family | R@10 by family |\n|---|---|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Gallery:
    """Vectors of all rows, none made from text: views (n, views, 512), image, shape and fused (n, 512)."""

    rows: list[Row]
    views: Tensor
    image: Tensor
    shape: Tensor
    fused: Tensor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pgcad eval` with command-line `arguments`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="pgcad eval", description=__doc__)
    parser.add_argument("--split", type=Path, required=True, help="split file: path, split, series, caption, tags")
    parser.add_argument("--models", type=Path, required=True, help="folder the paths of the split file start from")
    parser.add_argument("--weights", type=Path, default=None, help="folder of the weights (default: the shipped ones)")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/results/encoders"), help="folder of the results")
    parser.add_argument("--workers", type=int, default=2, help="processes that prepare data")
    parser.add_argument("--only-prepared", action="store_true", help="measure on what is prepared already")
    options = parser.parse_args(arguments)
    rows = read_split(options.split)
    folder = options.cache / "prepared" / "kicad"
    if not options.only_prepared:
        prepare_rows(rows, options.models, options.cache, options.workers)
    space = CadSpace.load(options.weights, "cpu")
    gallery = encode_gallery(space, prepared_rows(rows, folder), folder)
    result = {**_circumstances(space, arguments, gallery), **measure(space, gallery)}
    options.out.mkdir(parents=True, exist_ok=True)
    table = _table(result)
    (options.out / "eval.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    (options.out / "eval.md").write_text(table, "utf-8")
    print(table)
    return 0


def encode_gallery(space: CadSpace, rows: list[Row], folder: Path) -> Gallery:
    """Encode the prepared rows from their pictures and points alone."""
    corpus = load_corpus([Part(folder, row.path, (), "") for row in rows])
    views = view_vectors(space.image_tower, corpus)
    image, shape = image_vectors(views), shape_vectors(space.shape_tower, corpus)
    return Gallery(rows, views, image, shape, fuse(space.fusion, None, image, shape))


def measure(space: CadSpace, gallery: Gallery) -> dict[str, Any]:
    """All tasks over all query splits, as plain numbers."""
    text = torch.zeros(len(gallery.rows), space.dim)
    queries = _queries(gallery, QUERY_SPLITS["both"], captioned=True)
    text[queries] = torch.from_numpy(space.embed_text([gallery.rows[row].caption for row in queries.tolist()]))

    def text_ranks(rows: Tensor, dim: int = space.dim) -> Tensor:
        return ranks(_first(text[rows], dim), _first(gallery.fused, dim), rows)

    families = [row.family for row in gallery.rows]
    return {
        "text_to_part": _per_split(gallery, text_ranks, captioned=True),
        "image_to_part": _per_split(gallery, lambda rows: _image_ranks(gallery, rows)),
        "text_to_part_nested": {
            str(dim): recall(text_ranks(queries, dim), _families(gallery, queries)).as_dict() for dim in NESTED_DIMS
        },
        "shape_neighbour_family": {
            name: round(neighbour_agreement(gallery.shape, families, _queries(gallery, splits)), 4)
            for name, splits in QUERY_SPLITS.items()
        },
    }


def _queries(gallery: Gallery, splits: Sequence[str], captioned: bool = False) -> Tensor:
    chosen = [i for i, row in enumerate(gallery.rows) if row.split in splits and (row.caption or not captioned)]
    return torch.tensor(chosen)


def _families(gallery: Gallery, rows: Tensor) -> list[str]:
    return [gallery.rows[row].family for row in rows.tolist()]


def _per_split(
    gallery: Gallery, rank_of: Callable[[Tensor], Tensor], captioned: bool = False
) -> dict[str, dict[str, float]]:
    results = {}
    for name, splits in QUERY_SPLITS.items():
        rows = _queries(gallery, splits, captioned)
        results[name] = recall(rank_of(rows), _families(gallery, rows)).as_dict()
    return results


def _first(vectors: Tensor, dim: int) -> Tensor:
    """The first `dim` dimensions of unit vectors, as unit vectors."""
    return normalize(vectors[:, :dim], dim=1)


def _image_ranks(gallery: Gallery, rows: Tensor) -> Tensor:
    """A view from a random direction against the best of the ten canonical views of each part, as search does it."""
    queries = gallery.views[rows, _QUERY_VIEW]
    canonical = gallery.views[:, :CANONICAL_VIEWS]
    scores = torch.stack([(queries @ canonical[:, view].T) for view in range(CANONICAL_VIEWS)]).amax(0)
    return (scores >= scores.gather(1, rows.unsqueeze(1))).sum(1) - 1


def _circumstances(space: CadSpace, arguments: Sequence[str] | None, gallery: Gallery) -> dict[str, Any]:
    return {
        "command": shlex.join(["pgcad", "eval", *(arguments or ())]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "version": space.version,
        "fusion_weights": vars(space.fusion),
        "gallery": len(gallery.rows),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        f"# Encoders, {result['version']}, {result['date']}\n",
        f"Gallery: all {result['gallery']} parts, encoded from pictures and points alone. Made by:\n",
        f"    {result['command']}\n",
        _TABLE_HEAD.rstrip("\n"),
    ]
    for task, title in (("text_to_part", "text → part"), ("image_to_part", "picture from a random side → part")):
        for split, recalls in result[task].items():
            numbers = " | ".join(f"{recalls[key]:.3f}" for key in ("r1", "r10", "r1_by_family", "r10_by_family"))
            lines.append(f"| {title} | {split} | {recalls['queries']} | {numbers} |")
    for dim, recalls in result["text_to_part_nested"].items():
        numbers = " | ".join(f"{recalls[key]:.3f}" for key in ("r1", "r10", "r1_by_family", "r10_by_family"))
        lines.append(f"| text → part, first {dim} dimensions | both | {recalls['queries']} | {numbers} |")
    lines.append("\n| family of the nearest neighbour by shape | share |\n|---|---|")
    lines += [f"| {split} | {share:.3f} |" for split, share in result["shape_neighbour_family"].items()]
    return "\n".join(lines) + "\n"
