"""Weights that cad.learn_weights finds for texts, beside those in force: from captions of the validation rows.

    pgcad up --state STATE
    python -m pgcad.evaluation.learned_weights --split FILE --state STATE

Every validation part is judged right for its caption, in English and in Chinese, in a catalogue of all parts without
names (pgcad.evaluation.catalogue). What is printed was measured by cross-validation; rows of test are never asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
from pgcad_load import cluster

from pgcad.cache import cache_folder
from pgcad.corpus.captions import chinese
from pgcad.corpus.kicad import prepared_rows
from pgcad.corpus.split import read_split
from pgcad.encoders.space import CadSpace
from pgcad.evaluation.catalogue import Database, catalogue, fill
from pgcad.evaluation.gallery import Gallery, encode_gallery

_FIGURES = ("r1_before", "r1", "mrr_before", "mrr", "gain_low", "gain_high")
_WEIGHTS = ("text", "image", "shape", "fused", "lexical", "numbers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables for command-line `arguments`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pgcad.evaluation.learned_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--split", type=Path, required=True, help="split file: path, split, series, caption, tags")
    parser.add_argument("--state", type=Path, required=True, help="folder of a running local cluster (pgcad up)")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="prepared data (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the Chinese captions (default: %(default)s)")
    options = parser.parse_args(arguments)
    folder = options.cache / "prepared" / "kicad"
    space = CadSpace.load(None, "cpu")
    gallery = encode_gallery(space, prepared_rows(read_split(options.split), folder), folder, options.cache)
    with catalogue(cluster.LocalCluster.at(options.state)) as db:
        fill(db, space, gallery, folder, named=False)
        judge(db, gallery, Random(options.seed))
        print(f"{len(gallery.rows)} parts, {space.version}\n")
        for line in tables(db):
            print(line)
    return 0


def judge(db: Database, gallery: Gallery, rng: Random) -> None:
    """Record for the captions of the validation rows that their parts are right, and parts of the same surfaces."""
    twins = gallery.twins.numpy()
    for row in gallery.queries(("val",), captioned=True).tolist():
        caption = gallery.rows[row].caption
        right = [str(number) for number in np.flatnonzero(twins == twins[row])]
        for text in dict.fromkeys((caption, chinese(caption, rng) or caption)):
            db.execute(
                "select cad.record_feedback(%s, m.model_id) from cad.model as m where m.source_uri = any (%s)",
                [text, right],
            )


def tables(db: Database) -> Iterator[str]:
    """The weights in force and the learned ones, and what was measured of both."""
    [(before,)] = db.execute("select to_jsonb(f) from cad.fusion_weight as f where query_kind = 'text'")
    [(learned,)] = db.execute("select to_jsonb(l) from cad.learn_weights('text') as l")
    yield f"| weights | {' | '.join(_WEIGHTS)} |\n|---{'|---' * len(_WEIGHTS)}|"
    for name, row in (("in force", before), ("learned", learned)):
        yield f"| {name} | {' | '.join(f'{row[weight]:.3f}' for weight in _WEIGHTS)} |"
    figures = " | ".join(f"{learned[figure]:.3f}" for figure in _FIGURES)
    yield f"\n| questions | {' | '.join(_FIGURES)} | take force |\n|---{'|---' * len(_FIGURES)}|---|"
    yield f"| {learned['questions']} | {figures} | {'no' if learned['version'] is None else 'yes'} |"


if __name__ == "__main__":
    raise SystemExit(main())
