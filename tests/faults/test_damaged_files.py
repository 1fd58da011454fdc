"""Files that crash the geometry kernel: they cost their own row, and nobody else's."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import psycopg
from pgcad_load.cluster import LocalCluster

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "parts"
DAMAGED = 12


def damaged(data: bytes, seed: int) -> bytes:
    """The file with eight bytes overwritten at random."""
    chance = random.Random(seed)
    spoiled = bytearray(data)
    for _ in range(8):
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    return bytes(spoiled)


def test_damaged_step_files_cost_at_most_their_own_rows(db: psycopg.Connection[Any], service: LocalCluster) -> None:
    good, other = sorted(SAMPLES.glob("*/*.step"), key=lambda path: path.stat().st_size)[:2]
    files = {"good.step": good.read_bytes(), "other.step": other.read_bytes()}
    files |= {f"damaged-{seed}.step": damaged(good.read_bytes(), seed) for seed in range(DAMAGED)}
    with db.cursor() as cursor:
        cursor.executemany(
            "insert into cad.ingest (source_uri, format, content) values (%s, 'step', %s)",
            [(uri, content) for uri, content in files.items()],
        )
    started = db.execute("select pg_postmaster_start_time(), pg_backend_pid()").fetchone()
    db.execute("call cad.ingest_pending()")
    states = dict(db.execute("select source_uri, state from cad.ingest").fetchall())
    assert states["good.step"] == states["other.step"] == "done"
    assert set(states.values()) == {"done", "failed"}
    reasons = db.execute("select last_sqlstate, last_error from cad.ingest where state = 'failed'").fetchall()
    assert all(sqlstate in ("22023", "54000", "57014", "58000") and reason for sqlstate, reason in reasons)
    assert db.execute("select cad.encoder_health() ->> 'status'").fetchone() == ("ok",)
    assert db.execute("select pg_postmaster_start_time(), pg_backend_pid()").fetchone() == started
