"""Captions asked through search_cad in a catalogue whose parts have no names, as it comes from files that nobody has
described: what the whole search finds by geometry, words and numbers, and what its weights should be.

    pgcad up --state STATE
    python -m pgcad.evaluation.nameless --split FILE --state STATE [--queries val] [--weights '{"numbers": 0.5}' ...]

The catalogue is made in a database of its own, from prepared parts, and dropped in the end. Prints a table with rows
for each of --weights, first for those of cad.fusion_weight. Weights are chosen with --queries val, and measured with
the rows of test and unseen_family, the default.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psycopg
import torch
from pgcad_load import cluster
from psycopg import sql
from torch import Tensor

from pgcad.cache import cache_folder
from pgcad.corpus.captions import chinese
from pgcad.corpus.kicad import prepared_rows
from pgcad.corpus.records import load_record, load_report
from pgcad.corpus.split import read_split
from pgcad.encoders.fusion import fuse
from pgcad.encoders.space import CadSpace
from pgcad.encoders.text import passage
from pgcad.evaluation.gallery import Gallery, encode_gallery
from pgcad.evaluation.numbers import right_numbers
from pgcad.geometry.measures import short_measures

Database = psycopg.Connection[tuple[Any, ...]]
_DATABASE = "pgcad_nameless"
_FIRST = 10
_CHUNK = 256


@dataclass(frozen=True)
class Asked:
    """Queries for the gallery's parts `rows` and what was found: numbers of parts, best first."""

    texts: list[str]
    rows: list[int]
    found: list[list[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table for command-line `arguments`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pgcad.evaluation.nameless",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--split", type=Path, required=True, help="split file: path, split, series, caption, tags")
    parser.add_argument("--state", type=Path, required=True, help="folder of a running local cluster (pgcad up)")
    parser.add_argument("--queries", nargs="+", default=["test", "unseen_family"], help="rows that are asked for")
    parser.add_argument("--weights", type=json.loads, nargs="*", default=[], help="options.weights to try as well")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the Chinese captions (default: %(default)s)")
    options = parser.parse_args(arguments)
    folder = options.cache / "prepared" / "kicad"
    space = CadSpace.load(None, "cpu")
    gallery = encode_gallery(space, prepared_rows(read_split(options.split), folder), folder, options.cache)
    rows = gallery.queries(options.queries, captioned=True).tolist()
    english = [gallery.rows[row].caption for row in rows]
    rng = Random(options.seed)
    languages = {"English": english, "Chinese": [chinese(caption, rng) or caption for caption in english]}
    print(f"{len(rows)} queries of {', '.join(options.queries)} in {len(gallery.rows)} parts, {space.version}\n")
    print("| weights | queries of | n | R@1 | R@10 | all numbers right |\n|---|---|---|---|---|---|")
    with catalogue(cluster.LocalCluster.at(options.state)) as db:
        fill(db, space, gallery, folder)
        for weights in [{}, *options.weights]:
            for language, texts in languages.items():
                asked = Asked(texts, rows, [ask(db, text, weights) for text in texts])
                for line in table_rows(gallery, asked, options.queries):
                    print(f"| {json.dumps(weights)} | {language}, {line}", flush=True)
    return 0


@contextmanager
def catalogue(server: cluster.LocalCluster) -> Iterator[Database]:
    """A connection to an empty database of the cluster; the database is dropped in the end."""
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(_DATABASE))
    with server.connect(cluster.DATABASE) as db:
        db.execute(drop)
        server.create_database(_DATABASE)
        try:
            with server.connect(_DATABASE) as of_parts:
                yield of_parts
        finally:
            db.execute(drop)


def fill(db: Database, space: CadSpace, gallery: Gallery, folder: Path) -> None:
    """Store the gallery's parts as if they had been loaded from files without names, those of the files included."""
    for start in range(0, len(gallery.rows), _CHUNK):
        numbers = range(start, min(start + _CHUNK, len(gallery.rows)))
        reports = [_report(folder, gallery.rows[number].path) for number in numbers]
        text = space.embed_text([passage(report) for report in reports], "passage")
        with db.transaction():
            for number, report, of_text in zip(numbers, reports, text, strict=True):
                _store(db, space, gallery, number, report, torch.from_numpy(of_text))
    db.execute("analyze")


def _report(folder: Path, key: str) -> dict[str, Any]:
    record = load_record(folder, key)
    measures = short_measures(record.brep) if record.brep else None
    return {**load_report(folder, key), "names": [], "measures": measures}


def _store(db: Database, space: CadSpace, gallery: Gallery, number: int, report: dict[str, Any], text: Tensor) -> None:
    image, shape, brep = gallery.image[number], gallery.shape[number], gallery.brep[number]
    fused = fuse(space.fusion, text, image, shape, brep)
    vectors = [json.dumps(vector.tolist()) for vector in (text, image, shape, fused)]
    [(queued,)] = db.execute(
        "insert into cad.ingest (source_uri, format, sha256, state)"
        " values (%s, 'step', %s, 'done') returning ingest_id",
        [str(number), hashlib.sha256(str(number).encode()).digest()],
    )
    db.execute(
        "with stored as (select cad._store_model(%s, %s) as model_id)"
        " insert into cad.space_cad (model_id, family, text_vec, image_vec, shape_vec, fused_vec, encoder_version)"
        " select model_id, 'unclassified', %s, %s, %s, %s, %s from stored",
        [queued, json.dumps(report), *vectors, space.version],
    )


def ask(db: Database, text: str, weights: dict[str, float]) -> list[int]:
    """Numbers of the parts found, best first."""
    found = db.execute(
        "select m.source_uri::int from cad.search_cad(%s, %s, options => %s) as h"
        " inner join cad.model as m using (model_id) order by h.rank",
        [text, _FIRST, json.dumps({"weights": weights})],
    )
    return [number for (number,) in found]


def table_rows(gallery: Gallery, asked: Asked, splits: Sequence[str]) -> Iterator[str]:
    """Per split, and for several of them together: queries, recall among the first one and ten, and first hits with the
    right numbers.
    """
    twins = gallery.twins.numpy()
    hits = np.array(
        [[any(twins[part] == twins[row] for part in found[:first]) for first in (1, _FIRST)]
         for row, found in zip(asked.rows, asked.found, strict=True)]
    )  # fmt: skip
    best = [gallery.rows[found[0]] if found else None for found in asked.found]
    numbered = right_numbers(asked.texts, best).get("all")  # absent where no query names a number
    right = dict(zip(numbered[0].tolist(), numbered[1], strict=True)) if numbered else {}
    of_split = np.array([gallery.rows[row].split for row in asked.rows])
    groups = [(split, of_split == split) for split in splits]
    if len(splits) > 1:
        groups.append(("all", of_split != ""))
    for name, chosen in groups:
        these = np.flatnonzero(chosen)
        shares = [hit for place, hit in right.items() if chosen[place]]
        r1, r10 = hits[these].mean(0)
        numbers = f"{np.mean(shares):.3f} of {len(shares)}" if shares else "none asked for"
        yield f"{name} | {len(these)} | {r1:.3f} | {r10:.3f} | {numbers} |"


if __name__ == "__main__":
    raise SystemExit(main())
