"""Drawn parts in a database of pgcad: how they are loaded, tuned for and asked."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from drawn_parts import DrawnParts
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from psycopg.types.json import Jsonb
from scratch_database import Database
from vector_model import Vectors

SEARCH = """
select model_id
from cad.search_cad_vector('cad', %(vector)s, %(first)s, filters => %(filters)s, options => %(options)s)
"""
EXPLAIN = """
select sum(elapsed_ms) filter (where stage not in ('check', 'encode', 'plan', 'rerank')),
    max(detail ->> 'strategy') filter (where stage = 'plan')
from cad.explain_search(v => %(vector)s, k => %(first)s, filters => %(filters)s, options => %(options)s)
"""
TUNED_WITH = 400  # questions: as many as `cad.tune` takes of the log


def identity(number: int) -> uuid.UUID:
    """The model_id of a part."""
    return uuid.UUID(int=number + 1)


def load(db: Database, parts: DrawnParts, columns: Sequence[str], first: int = 0) -> None:
    """Fill the catalogue with parts from number `first` on, and the default space with each vector in these columns."""
    db.execute("update cad.space set encoder_version = 'drawn' where name = 'cad'")
    with db.cursor().copy(
        "copy cad.model (model_id, name, sha256, format, kind, family, mass_kg) from stdin with (format binary)"
    ) as copy:
        copy.set_types(["uuid", "text", "bytea", "text", "text", "text", "float8"])
        for number, mass in enumerate(parts.masses.tolist(), first):
            digest = hashlib.sha256(str(number).encode()).digest()
            copy.write_row([identity(number), f"part {number}", digest, "step", "part", "drawn", mass])
    names = ", ".join(("model_id", "family", *columns, "encoder_version"))
    with db.cursor().copy(f"copy cad.space_cad ({names}) from stdin with (format binary)") as copy:
        copy.set_types(["uuid", "text", *["halfvec"] * len(columns), "text"])
        for number, vector in enumerate(parts.vectors, first):
            copy.write_row([identity(number), "drawn", *[HalfVector(vector)] * len(columns), "drawn"])


def question(vector: NDArray[np.float32], share: float, first: int, **options: str) -> dict[str, Any]:
    """Parameters of SEARCH and EXPLAIN: the fused vectors of parts with a mass below `share`."""
    filters = {} if share >= 1 else {"mass_kg": {"max": share}}
    given = {"against": "fused", **options}
    return {"vector": Vector(vector), "first": first, "filters": Jsonb(filters), "options": Jsonb(given)}


def log_questions(db: Database, questions: Vectors, first: int, **options: str) -> None:
    """Ask, so that `cad.tune` measures with what is asked: it takes the last questions of the log, up to TUNED_WITH."""
    db.execute("set pgcad.log_share = 1")
    for vector in questions:
        db.execute(SEARCH, question(vector, 1.0, first, **options)).fetchall()
    db.execute("set pgcad.log_share = 0")
