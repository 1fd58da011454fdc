"""What `cad.index_plan` predicts of each kind of index, beside what building it takes.

    python tests/bench/index_prediction.py --dsn "$(make -s dsn)" --parts 100000 --output docs/results/index_plan.json

DSN is a superuser's; the run makes a database of its own in that cluster and drops it afterwards. The parts are drawn
from the model of `vector_model.py`. Memory is not measured here: `tests/sql/test_index_plan.py` compares it with what
pgvector itself says that it wants.
"""

from __future__ import annotations

import argparse
import secrets
import time
from pathlib import Path
from typing import Any

import numpy as np
import pgcad_parts
import report
from drawn_parts import DrawnParts
from psycopg.types.json import Jsonb
from scratch_database import Database, connect, scratch_database
from vector_model import VectorModel

PLAN = "select kind, parameters, size_bytes, build_s from cad.index_plan('cad')"
BUILD = "select cad._create_vector_index('space_cad_default', %s, %s, 512)"
SIZE = "select sum(size_bytes)::bigint from cad.index_health where space = 'cad'"


def wanted(db: Database, indexes: dict[str, dict[str, int]]) -> None:
    """Parameters that are not the defaults, as `cad.use_profile` would want them."""
    db.execute("update cad.space set config = %s where name = 'cad'", [Jsonb({"indexes": indexes})])


def built(db: Database, kind: str, parameters: dict[str, int], size_bytes: int, build_s: float) -> dict[str, Any]:
    """Build an index and drop it; what it took, and that as a multiple of what was predicted."""
    started = time.perf_counter()
    db.execute(BUILD, [kind, Jsonb(parameters)])
    took_s = time.perf_counter() - started
    [(took_bytes,)] = db.execute(SIZE).fetchall()
    db.execute("select cad.drop_index('cad', %s)", [kind])
    return {
        "kind": kind, "parameters": parameters,
        "predicted_mb": round(size_bytes / 1e6, 1), "size_mb": round(took_bytes / 1e6, 1),
        "size_of_predicted": round(took_bytes / size_bytes, 2),
        "predicted_s": round(build_s, 1), "build_s": round(took_s, 1), "build_of_predicted": round(took_s / build_s, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--parts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    model, chance = VectorModel.load(), np.random.default_rng(arguments.seed)
    with scratch_database(arguments.dsn, "pgcad_prediction") as dsn, connect(dsn) as db:
        db.execute("set maintenance_work_mem = '4GB'")
        db.execute("select cad.drop_index('cad', 'hnsw')")
        pgcad_parts.load(db, DrawnParts.draw(model, arguments.parts, chance), ["fused_vec"])
        db.execute("vacuum analyze cad.space_cad")
        indexes = []
        for others in ({}, {"ivfflat": {"dim": 128}}, {"ivfflat": {"dim": 96}}):
            wanted(db, others)
            db.execute("select cad.measure_builds('cad')")
            planned = db.execute(PLAN).fetchall()
            indexes += [built(db, *row) for row in planned if row[0] in others or not others]
    report.write(
        {**report.circumstances(arguments.dsn), "parts": arguments.parts, "seed": arguments.seed, "indexes": indexes},
        arguments.output,
    )


if __name__ == "__main__":
    main()
