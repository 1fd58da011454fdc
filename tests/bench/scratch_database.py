"""Databases for a measurement, beside the ones that somebody uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

Database = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def scratch_database(dsn: str, name: str) -> Iterator[str]:
    """Connection string of a fresh database with pgcad, in the cluster of `dsn`; it is dropped at the end."""
    identifier = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))
        db.execute(sql.SQL("create database {}").format(identifier))
    scratch = make_conninfo(**{**conninfo_to_dict(dsn), "dbname": name})
    try:
        with psycopg.connect(scratch, autocommit=True) as db:
            db.execute("create extension pgcad cascade")
        yield scratch
    finally:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(sql.SQL("drop database {} with (force)").format(identifier))


def connect(dsn: str) -> Database:
    """A connection to measure on: each statement is planned under the settings at hand.

    psycopg prepares what was executed five times, and the server then keeps a plan whatever `set` says later.
    """
    db = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
    register_vector(db)
    db.execute("set jit = off")
    return db
