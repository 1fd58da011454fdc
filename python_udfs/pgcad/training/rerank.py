"""What each score should count when parts are ranked: the evidence behind the rows of cad.fusion_weight.

    python -m pgcad.training.rerank --split FILE

Queries are the validation rows, as a picture from a random side and as an augmented shape; the gallery is every
validation and training row with its caption. Prints recall for each mix of scores, best first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pgcad.cache import cache_folder
from pgcad.encoders.space import CadSpace
from pgcad.training.corpus import CANONICAL_VIEWS, Corpus, Part, augmented, load_corpus, shapes
from pgcad.training.encode import image_vectors, shape_vectors, view_vectors
from pgcad.training.split import Row, read_split
from pgcad.training.train import prepared_rows

_SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables for command-line `arguments`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pgcad.training.rerank", description=__doc__)
    parser.add_argument("--split", type=Path, required=True, help="split file: path, split, series, caption, tags")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the augmentation (default: %(default)s)")
    options = parser.parse_args(arguments)
    folder = options.cache / "prepared" / "kicad"
    rows = [row for row in prepared_rows(read_split(options.split), folder) if row.split in ("train", "val")]
    space = CadSpace.load(None, "cpu")
    corpus = load_corpus([Part(folder, row.path, (), row.caption) for row in rows])
    queries = torch.tensor([index for index, row in enumerate(rows) if row.split == "val"])
    text = torch.from_numpy(space.embed_text([_passage(row) for row in rows], "passage"))
    views = view_vectors(space.image_tower, corpus)
    shape = shape_vectors(space.shape_tower, corpus)
    print(f"{len(queries)} validation queries in {len(rows)} parts, {space.version}, seed {options.seed}\n")
    picture, best_view = best_views(views, queries)
    show("picture", queries, best_view, {"text": picture @ text.T, "shape": picture @ shape.T})
    scan = augmented_shapes(space, corpus, queries, torch.Generator().manual_seed(options.seed))
    show("shape", queries, scan @ shape.T, {"text": scan @ text.T, "image": scan @ image_vectors(views).T})
    return 0


def best_views(views: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (q, dim) of the queries from a random side, and their cosine with each part's best canonical view."""
    picture = views[queries, CANONICAL_VIEWS]
    return picture, torch.stack([picture @ views[:, view].T for view in range(CANONICAL_VIEWS)]).amax(0)


def augmented_shapes(space: CadSpace, corpus: Corpus, queries: Tensor, generator: torch.Generator) -> Tensor:
    """Vectors (q, dim) of the queries' shapes: turned, tilted, jittered and of slightly wrong size."""
    found = []
    with torch.inference_mode():
        for batch in queries.split(128):
            features = augmented(shapes(corpus.halves[0], batch), generator)
            found.append(space.shape_tower(features))
    return normalize(torch.cat(found), dim=1)


def show(kind: str, targets: Tensor, own: Tensor, others: dict[str, Tensor]) -> None:
    """Print recall for the query's own score plus shares of the two other ones, best first."""
    names = list(others)
    mixes = []
    for shares in product(_SHARES, repeat=len(names)):
        scores = own + sum(share * others[name] for share, name in zip(shares, names, strict=True))
        rank = (scores >= scores.gather(1, targets.unsqueeze(1))).sum(1) - 1
        mixes.append(((rank < 1).float().mean().item(), (rank < 10).float().mean().item(), shares))
    print(f"| {kind} query: share of {', of '.join(names)} | R@1 | R@10 |\n|---|---|---|")
    for first, ten, shares in sorted(mixes, reverse=True)[:8]:
        print(f"| {', '.join(map(str, shares))} | {first:.3f} | {ten:.3f} |")
    print()


def _passage(row: Row) -> str:
    return f"{Path(row.path).stem}. {row.caption}"


if __name__ == "__main__":
    raise SystemExit(main())
