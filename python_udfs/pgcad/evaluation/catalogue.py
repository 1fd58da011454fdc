"""Questions to search_cad in a catalogue of all parts: what the whole search finds, by vectors, words and numbers.

    pgcad up --state STATE
    python -m pgcad.evaluation.catalogue --split FILE --state STATE [--queries val] [--weights '{"numbers": 0.5}' ...]
    python -m pgcad.evaluation.catalogue --split FILE --state STATE --families FILE

The first asks for captions in a catalogue whose parts have no names, as it comes from files that nobody has described:
a table with rows for each of --weights, first for those of cad.fusion_weight. Weights are chosen with --queries val,
and measured with the rows of test and unseen_family, the default. The second asks for kinds of parts where the parts
have names and captions. The catalogue is made in a database of its own, from prepared parts, and dropped in the end.
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
from torch.nn.functional import normalize

from pgcad.cache import cache_folder
from pgcad.corpus.captions import chinese
from pgcad.corpus.kicad import prepared_rows
from pgcad.corpus.records import load_record, load_report
from pgcad.corpus.split import Row, read_split
from pgcad.encoders.fusion import fuse
from pgcad.encoders.space import CadSpace
from pgcad.encoders.text import passage
from pgcad.evaluation.families import read_family_queries, right_families
from pgcad.evaluation.gallery import Gallery, encode_gallery
from pgcad.evaluation.numbers import right_numbers
from pgcad.geometry.measures import short_measures

Database = psycopg.Connection[tuple[Any, ...]]
_DATABASE = "pgcad_evaluation"
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
        prog="python -m pgcad.evaluation.catalogue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--split", type=Path, required=True, help="split file: path, split, series, caption, tags")
    parser.add_argument("--state", type=Path, required=True, help="folder of a running local cluster (pgcad up)")
    parser.add_argument("--queries", nargs="+", default=["test", "unseen_family"], help="rows that are asked for")
    parser.add_argument("--weights", type=json.loads, nargs="*", default=[], help="options.weights to try as well")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the Chinese captions (default: %(default)s)")
    parser.add_argument("--families", type=Path, help="questions: query_zh, query_en, family_regex")
    options = parser.parse_args(arguments)
    folder = options.cache / "prepared" / "kicad"
    space = CadSpace.load(None, "cpu")
    gallery = encode_gallery(space, prepared_rows(read_split(options.split), folder), folder, options.cache)
    with catalogue(cluster.LocalCluster.at(options.state)) as db:
        fill(db, space, gallery, folder, named=options.families is not None)
        print(f"{len(gallery.rows)} parts, {space.version}\n")
        for line in _families(db, options) if options.families else _captions(db, gallery, options):
            print(line, flush=True)
    return 0


def _captions(db: Database, gallery: Gallery, options: argparse.Namespace) -> Iterator[str]:
    rows = gallery.queries(options.queries, captioned=True).tolist()
    english = [gallery.rows[row].caption for row in rows]
    rng = Random(options.seed)
    languages = {"English": english, "Chinese": [chinese(caption, rng) or caption for caption in english]}
    yield "| weights | queries of | n | R@1 | R@10 | all numbers right |\n|---|---|---|---|---|---|"
    for weights in [{}, *options.weights]:
        for language, texts in languages.items():
            asked = Asked(texts, rows, [ask(db, text, weights) for text in texts])
            for line in table_rows(gallery, asked, options.queries):
                yield f"| {json.dumps(weights)} | {language}, {line}"


def _families(db: Database, options: argparse.Namespace) -> Iterator[str]:
    def first_family(text: str) -> str | None:
        row = db.execute("select family from cad.search_cad(%s, 1)", [text]).fetchone()
        return str(row[0]) if row else None

    yield "| questions in | n | the first hit is of a right family | not so |\n|---|---|---|---|"
    for language, (texts, hits) in right_families(read_family_queries(options.families), first_family).items():
        wrong = ", ".join(text for text, hit in zip(texts, hits, strict=True) if not hit)
        yield f"| {language} | {len(hits)} | {np.mean(hits):.3f} | {wrong} |"


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


def fill(db: Database, space: CadSpace, gallery: Gallery, folder: Path, named: bool) -> None:
    """Store the gallery's parts as if they had been loaded from files; `named`: with the files' names and captions."""
    for start in range(0, len(gallery.rows), _CHUNK):
        numbers = range(start, min(start + _CHUNK, len(gallery.rows)))
        parts = [_part(gallery.rows[number], folder, named) for number in numbers]
        text = _texts(space, [part.report for part in parts], gallery.text[start : start + _CHUNK])
        with db.transaction():
            for number, part, of_text in zip(numbers, parts, text, strict=True):
                _store(db, space, gallery, number, part, of_text)
    db.execute("analyze")


@dataclass(frozen=True)
class _Part:
    metadata: dict[str, Any]
    report: dict[str, Any]


def _part(row: Row, folder: Path, named: bool) -> _Part:
    """What the loader would send along, and what the analysis would report then."""
    record = load_record(folder, row.path)
    report = {**load_report(folder, row.path), "names": []}
    report["measures"] = short_measures(record.brep) if record.brep else None
    if not named:
        return _Part({}, report)
    report["name"] = row.name
    if row.caption:
        report |= {"description": row.caption, "description_zh": None, "description_generated": False}
    return _Part({"part_number": row.name, "family": row.family, "tags": row.tags.split()}, report)


def _texts(space: CadSpace, reports: Sequence[dict[str, Any]], supposed: Tensor) -> Tensor:
    """Text vectors (n, dim), as `pgcad.service.parts` makes them: of what was said, and of what is supposed besides."""
    said = [passage(report) for report in reports]
    spoken = [row for row, text in enumerate(said) if text]
    generated = torch.tensor([report["description_generated"] for report in reports])
    total = supposed * generated.unsqueeze(1)
    total[spoken] += torch.from_numpy(space.embed_text([said[row] for row in spoken], "passage"))
    return normalize(total, dim=1)


def _store(db: Database, space: CadSpace, gallery: Gallery, number: int, part: _Part, text: Tensor) -> None:
    image, shape, brep = gallery.image[number], gallery.shape[number], gallery.brep[number]
    fused = fuse(space.fusion, text, image, shape, brep)
    vectors = [json.dumps(vector.tolist()) for vector in (text, image, shape, brep, fused)]
    [(queued,)] = db.execute(
        "insert into cad.ingest (source_uri, format, sha256, state, metadata)"
        " values (%s, 'step', %s, 'done', %s) returning ingest_id",
        [str(number), hashlib.sha256(str(number).encode()).digest(), json.dumps(part.metadata)],
    )
    db.execute(
        "with stored as (select cad._store_model(%s, %s) as model_id)"
        " insert into cad.space_cad (model_id, family, text_vec, image_vec, shape_vec, brep_vec, fused_vec,"
        " encoder_version) select model_id, %s, %s, %s, %s, %s, %s, %s from stored",
        [queued, json.dumps(part.report), part.metadata.get("family", "unclassified"), *vectors, space.version],
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
