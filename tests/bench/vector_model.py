"""Vectors like those of real parts, as many as wanted: what indexes are measured on.

    python tests/bench/vector_model.py --split samples/eval/kicad6_split.tsv --output tests/bench/vector_model.npz

fits the model to the KiCad parts, as the shipped weights see them with their captions, and prints how alike the drawn
vectors are to the real ones. A vector that is drawn is a real part, moved in the plane of its nearest neighbours by
normal steps (a smoothed bootstrap: Efron 1979, Silverman and Young 1987), so that parts come in clusters of series and
families as they do in a vault. Of n parts drawn, each real one has n / 6,227 relatives. A question is drawn in the same
way from the vectors of captions, which lie apart from those of parts: for an index they are the harder ones.

Kept are the first principal directions of parts and questions, in steps of a 127th of the largest. Nothing is drawn
beside them: noise in all directions would hide which relatives are near, and real ones differ along few.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from pgcad.cache import cache_folder

Vectors = NDArray[np.float32]

FILE = Path(__file__).with_name("vector_model.npz")
STEP = 0.75  # of a move, in root mean squares of the neighbours' distances; chosen by the table that main prints
NEIGHBOURS = 8
DIRECTIONS = 256
CHUNK = 50_000


@dataclass(frozen=True)
class Source:
    """Real vectors (n, dim) and the numbers of the neighbours of each (n, NEIGHBOURS)."""

    vectors: Vectors
    neighbours: NDArray[np.int64]

    @classmethod
    def of(cls, vectors: Vectors) -> Source:
        """Neighbours are the nearest that are not the same part once more."""
        similarity = vectors @ vectors.T
        similarity[similarity > 1 - 1e-5] = -2
        return cls(vectors, np.argsort(-similarity, axis=1)[:, :NEIGHBOURS])

    def draw(self, count: int, chance: np.random.Generator) -> Iterator[Vectors]:
        """`count` unit vectors, in chunks (up to CHUNK, dim), rounded to half precision as they are stored."""
        for start in range(0, count, CHUNK):
            part = chance.integers(len(self.vectors), size=min(CHUNK, count - start))
            steps = chance.standard_normal((len(part), NEIGHBOURS)).astype(np.float32) * (STEP / NEIGHBOURS**0.5)
            moved = self.vectors[part] * (1 - steps.sum(1, keepdims=True))
            for place in range(NEIGHBOURS):
                moved += steps[:, place, None] * self.vectors[self.neighbours[part, place]]
            yield _unit(moved).astype(np.float16).astype(np.float32)


@dataclass(frozen=True)
class VectorModel:
    """Where parts and questions are drawn from; `version` is that of the encoder."""

    parts: Source
    questions: Source
    version: str

    @classmethod
    def load(cls, file: Path = FILE) -> VectorModel:
        """The fitted model that lies beside this file."""
        kept = np.load(file)
        basis = kept["basis"].astype(np.float32) * kept["scale"][:, None]
        parts, questions = (Source.of(_unit(kept[name].astype(np.float32) @ basis)) for name in ("parts", "questions"))
        return cls(parts, questions, str(kept["version"]))


def fit(parts: Vectors, questions: Vectors, version: str, file: Path) -> None:
    """Keep the principal directions of real vectors (n, dim), uncentred: they must keep inner products."""
    _, _, directions = np.linalg.svd(np.vstack([parts, questions]), full_matrices=False)
    basis = directions[:DIRECTIONS].astype(np.float16)
    within = {"parts": parts @ basis.astype(np.float32).T, "questions": questions @ basis.astype(np.float32).T}
    scale = np.maximum(*(np.abs(vectors).max(0) for vectors in within.values())) / 127
    kept = {name: np.rint(vectors / scale).astype(np.int8) for name, vectors in within.items()}
    np.savez_compressed(file, basis=basis, scale=scale, version=np.array(version), **kept)


def real_vectors(split: Path, cache: Path) -> tuple[Vectors, Vectors, str]:
    """Fused vectors of the KiCad parts with captions, those of captions as questions, and the encoder's version."""
    # Only fitting needs the encoders, which take seconds and hundreds of megabytes to import.
    from pgcad.corpus.captions import chinese
    from pgcad.corpus.kicad import prepared_rows
    from pgcad.corpus.split import read_split
    from pgcad.encoders.space import CadSpace
    from pgcad.encoders.text import passage
    from pgcad.evaluation.gallery import encode_gallery

    folder = cache / "prepared" / "kicad"
    space = CadSpace.load(None, "cpu")
    gallery = encode_gallery(space, prepared_rows(read_split(split), folder), folder, cache)
    parts, questions = [], []
    for number, row in enumerate(gallery.rows):
        text = gallery.text[number].numpy()
        if row.caption:
            translated = chinese(row.caption, Random(number))
            said = {"name": row.name, "description": row.caption, "description_generated": False}
            text = space.embed_text([passage(said)], "passage")[0]
            asked = row.caption if number % 2 or not translated else translated
            questions.append(space.fuse(space.embed_text([asked], "query")[0]))
        geometry = (vectors[number].numpy() for vectors in (gallery.image, gallery.shape, gallery.brep))
        parts.append(space.fuse(text, *geometry))
    return np.array(parts, np.float32), np.array(questions, np.float32), space.version


def nearest(queries: Vectors, vectors: Vectors, count: int) -> tuple[NDArray[np.int64], Vectors]:
    """Numbers and cosines (n, count) of the nearest, best first; exact."""
    found, cosines = [], []
    for start in range(0, len(queries), 256):
        similarity = queries[start : start + 256] @ vectors.T
        best = np.argpartition(-similarity, count, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(similarity, best, 1), axis=1, kind="stable")
        found.append(np.take_along_axis(best, order, 1))
        cosines.append(np.take_along_axis(similarity, found[-1], 1))
    return np.concatenate(found), np.concatenate(cosines)


def likeness(queries: Vectors, vectors: Vectors, among: NDArray[np.int64] | None = None) -> str:
    """Cells of a table: median distance of the 1st, 10th and 30th nearest, and the local intrinsic dimension by the
    maximum likelihood of Levina and Bickel (2004) from 30 neighbours. Where the queries are `among` the vectors, as
    those numbers, a query is not its own neighbour.
    """
    found, cosines = nearest(queries, vectors, 31)
    if among is not None:
        cosines[found == among[:, None]] = -1
    distances = np.sqrt(np.maximum(2 - 2 * -np.sort(-cosines, axis=1), 1e-8))[:, :30]
    dimension = 1 / np.mean(np.log(distances[:, -1:] / np.maximum(distances[:, :-1], 1e-3)), axis=1)
    first, tenth, last = np.median(distances[:, [0, 9, 29]], axis=0)
    return f"{first:.3f} | {tenth:.3f} | {last:.3f} | {np.median(dimension):.1f}"


def table(parts: Vectors, questions: Vectors, model: VectorModel, chance: np.random.Generator) -> Iterator[str]:
    """How alike drawn vectors are to the real ones: neighbours of parts and of questions, among as many."""
    yield "| queries | vectors | 1st nearest | 10th | 30th | local dimension |\n|---|---|---|---|---|---|"
    drawn = np.concatenate(list(model.parts.draw(len(parts), chance)))
    asked = np.concatenate(list(model.questions.draw(500, chance)))
    some = chance.choice(len(parts), 500, replace=False)
    yield f"| real parts | {len(parts)} real | {likeness(parts[some], parts, some)} |"
    yield f"| drawn parts | {len(parts)} drawn | {likeness(drawn[some], drawn, some)} |"
    yield f"| real questions | {len(parts)} real | {likeness(questions[::11], parts)} |"
    yield f"| drawn questions | {len(parts)} drawn | {likeness(asked, drawn)} |"
    many = np.concatenate(list(model.parts.draw(100_000, chance)))
    yield f"| drawn parts | 100000 drawn | {likeness(many[:500], many, np.arange(500))} |"


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=cache_folder())
    parser.add_argument("--output", type=Path, default=FILE)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    parts, questions, version = real_vectors(arguments.split, arguments.cache)
    fit(parts, questions, version, arguments.output)
    model = VectorModel.load(arguments.output)
    print(f"{len(parts)} parts and {len(questions)} questions, {version}, seed {arguments.seed}\n")
    for line in table(parts, questions, model, np.random.default_rng(arguments.seed)):
        print(line)


if __name__ == "__main__":
    main()
