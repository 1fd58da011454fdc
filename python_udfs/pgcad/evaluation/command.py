"""`pgcad eval`: how well the default space finds parts it has never seen, with all names and captions hidden.

The gallery is every model of the split file, known by its geometry alone. Queries are captions, pictures, drawings,
other files and scans of its test rows and of families that training never saw, all drawn anew in every run. With the
connection string of a database that holds the catalogue, the family questions are also asked through search_cad.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import random
import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import torch
from pgcad_load import kicad

from pgcad.cache import cache_folder
from pgcad.corpus.kicad import prepare_rows, prepared_rows
from pgcad.corpus.records import load_record
from pgcad.corpus.split import read_split
from pgcad.encoders.space import WEIGHTS, CadSpace
from pgcad.evaluation import report
from pgcad.evaluation.cost import cost
from pgcad.evaluation.families import FamilyQuery, read_family_queries, right_families
from pgcad.evaluation.gallery import Gallery, encode_gallery
from pgcad.evaluation.numbers import right_numbers
from pgcad.evaluation.probes import probes
from pgcad.evaluation.ranking import neighbour_agreement
from pgcad.evaluation.tasks import (
    encode_probes,
    picture_tasks,
    shape_tasks,
    text_tasks,
    text_vectors,
    together_tasks,
)

QUERIES = ("test", "unseen_family")
SAMPLES = Path("samples/eval")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pgcad eval` with command-line `arguments`; returns the exit status."""
    options = _parser().parse_args(arguments)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    rows = read_split(options.split)
    if options.models is None:
        options.models = kicad.fetch(options.cache) / "3dmodels"
    folder = prepare_rows(rows, options.models, options.cache, options.workers, options.only_prepared)
    space = CadSpace.load(options.weights, "cpu")
    gallery = encode_gallery(space, prepared_rows(rows, folder), folder, options.cache)
    result = {
        "command": shlex.join(["pgcad", "eval", *(arguments or ())]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "version": space.version,
        "fusion_weights": vars(space.fusion),
        "gallery": len(gallery.rows),
        "twins": int((torch.bincount(gallery.twins)[gallery.twins] > 1).sum()),
        "seed": seed,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **measure(space, gallery, options, seed),
        "cost": _cost(space, gallery, folder, options.weights or WEIGHTS),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "eval.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (options.out / "eval.md").write_text(report.table(result), "utf-8")
    report.plots(result, options.out)
    print(report.table(result))
    return 0


def measure(space: CadSpace, gallery: Gallery, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """All questions, as plain numbers; the same for the same seed."""
    rng, resampling = random.Random(seed), np.random.default_rng(seed)
    captioned = gallery.queries(QUERIES, captioned=True)
    rows = gallery.queries(QUERIES)
    files = [options.models / gallery.rows[row].path for row in rows.tolist()]
    questions = encode_probes(space, rows, probes(files, seed, options.workers))
    tasks = [
        *text_tasks(space, gallery, captioned, rng),
        *picture_tasks(gallery, questions, options.workers),
        *shape_tasks(gallery, questions, options.workers),
        *together_tasks(space, gallery, questions, options.workers),
    ]
    return {
        "recall": report.figures(tasks, gallery, resampling),
        "numbers": report.hit_figures(_numbers(space, gallery, captioned), resampling),
        "families": report.hit_figures(_families(space, gallery, options), resampling),
        "neighbours": report.hit_figures(_neighbours(gallery), resampling),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pgcad eval", description=__doc__)
    split_help = "split file: path, split, series, caption, tags (default: %(default)s)"
    parser.add_argument("--split", type=Path, default=SAMPLES / "kicad6_split.tsv", help=split_help)
    families_help = "questions: query_zh, query_en, family_regex (default: %(default)s)"
    parser.add_argument("--families", type=Path, default=SAMPLES / "family_queries.tsv", help=families_help)
    models_help = "folder the paths of the split file start from (default: the KiCad models, fetched into --cache)"
    parser.add_argument("--models", type=Path, default=None, help=models_help)
    parser.add_argument("--weights", type=Path, default=None, help="folder of the weights (default: the shipped ones)")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/results/encoders"), help="folder of the results")
    parser.add_argument("--workers", type=int, default=2, help="processes that read files")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier result, to repeat it")
    parser.add_argument("--dsn", default=None, help="a database that holds the parts with their captions")
    parser.add_argument("--only-prepared", action="store_true", help="measure on what is prepared already")
    return parser


def _numbers(space: CadSpace, gallery: Gallery, rows: torch.Tensor) -> dict[str, tuple[list[str], list[bool]]]:
    captions = [gallery.rows[row].caption for row in rows.tolist()]
    best = (text_vectors(space, captions) @ gallery.text.T).argmax(1).tolist()
    found = right_numbers(captions, [gallery.rows[row] for row in best])
    families = [gallery.families[row] for row in rows.tolist()]
    return {role: ([families[i] for i in which.tolist()], hits) for role, (which, hits) in found.items()}


def _families(
    space: CadSpace, gallery: Gallery, options: argparse.Namespace
) -> dict[str, tuple[list[str], list[bool]]]:
    queries: list[FamilyQuery] = read_family_queries(options.families)

    def by_geometry(text: str) -> str:
        return gallery.families[int((text_vectors(space, [text]) @ gallery.text.T).argmax())]

    found = {f"geometry alone, {lang}": hits for lang, hits in right_families(queries, by_geometry).items()}
    if options.dsn:
        with psycopg.connect(options.dsn) as db:

            def by_search(text: str) -> str | None:
                row = db.execute("select family from cad.search_cad(%s, 1)", [text]).fetchone()
                return str(row[0]) if row else None

            found |= {f"search_cad, {lang}": hits for lang, hits in right_families(queries, by_search).items()}
    return found


def _neighbours(gallery: Gallery) -> dict[str, tuple[list[str], list[bool]]]:
    rows = gallery.queries(QUERIES)
    families = [gallery.families[row] for row in rows.tolist()]
    return {"all": (families, neighbour_agreement(gallery.shape, gallery.families, rows))}


def _cost(space: CadSpace, gallery: Gallery, folder: Path, weights: Path) -> dict[str, float]:
    record = load_record(folder, gallery.rows[0].path)
    texts = [row.caption for row in gallery.rows if row.split in QUERIES and row.caption]
    return cost(space, weights, texts, record.views(slice(1))[0], record.points)
