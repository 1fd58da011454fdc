"""What a person asks first of a database of parts: what is in it, what waits, and is anything wrong."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from pgcad_load.connection import Connection
from pgcad_load.display import printable

QUERIES = {
    "queue": "select state, outcome, last_sqlstate, files, last_finished_at::timestamptz(0) from cad.ingest_status",
    "families": "select family, parts, assemblies, described_parts from cad.family_summary order by parts desc, family",
    "doctor": "select check_name, status, detail, hint from cad.doctor()",
}


def tables(connection: Connection) -> Iterator[Table]:
    """One table for each of QUERIES."""
    for title, query in QUERIES.items():
        cursor = connection.execute(query)
        table = Table(title=title, title_justify="left")
        for column in cursor.description or ():
            table.add_column(column.name, overflow="fold")
        for row in cursor:
            table.add_row(*(Text("" if value is None else printable(str(value))) for value in row))
        yield table
