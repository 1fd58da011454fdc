"""Inline mode: the same vectors from a backend that runs the encoders itself."""

from __future__ import annotations

import json
import sysconfig
from typing import Any

import psycopg
import pytest
from pgcad_load.cluster import LocalCluster

Connection = psycopg.Connection[Any]


def embedding(db: Connection) -> list[float]:
    row = db.execute("select cad.embed_text('hexagon head screw 六角头螺栓')").fetchone()
    assert row is not None
    vector: list[float] = json.loads(row[0])
    return vector


def test_inline_and_service_agree(db: Connection, service: LocalCluster) -> None:
    served = embedding(db)
    db.execute("set pgcad.encoder = 'inline'")
    db.execute("select set_config('pgcad.python_path', %s, false)", [sysconfig.get_path("purelib")])
    assert embedding(db) == pytest.approx(served, abs=2e-3)  # batches round differently, and halfvec keeps 11 bits
    assert db.execute("select cad.encoder_health() ->> 'status'").fetchone() == ("inline",)


def test_inline_without_the_package_says_so(db: Connection) -> None:
    db.execute("set pgcad.encoder = 'inline'")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot import pgcad") as failure:
        db.execute("select cad.embed_text('x')")
    assert "pgcad.python_path" in (failure.value.diag.message_hint or "")
