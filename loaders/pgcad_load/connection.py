"""Which database: the --dsn option, else $PGCAD_DSN, else the local cluster, else libpq's own environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]
LOCAL_STATE = Path(".pgcad")


def resolve(dsn: str | None) -> str:
    """The connection string to use; empty leaves everything to libpq (PGHOST, PGSERVICE, ...)."""
    if dsn := dsn or os.environ.get("PGCAD_DSN"):
        return dsn
    if LOCAL_STATE.exists():
        from pgcad_load import cluster

        return cluster.dsn(LOCAL_STATE)
    return ""


def connect(dsn: str, **arguments: Any) -> Connection:
    """An autocommit connection that finds `cad` whatever the search_path of the role."""
    return psycopg.connect(dsn, autocommit=True, application_name="pgcad", **arguments)
