"""What pgvector alone and pgcad have in common: a database, whose pages are in the memory of the server."""

from __future__ import annotations

from memory import private_bytes
from scratch_database import Database, connect

from contenders.contender import Contender

INDEX_BYTES = """
select sum(pg_relation_size(i.indexrelid))
from pg_index as i
inner join pg_class as c on c.oid = i.indexrelid
inner join pg_am as a on a.oid = c.relam
where a.amname in ('hnsw', 'ivfflat')
"""
CACHED_BYTES = """
select count(*) * current_setting('block_size')::bigint
from pg_buffercache
where reldatabase = (select d.oid from pg_database as d where d.datname = current_database())
"""


class PostgreSql(Contender):
    """One connection to a database of its own, with the server's settings but for the memory to build indexes."""

    packages = ("psycopg", "pgvector")
    _db: Database

    def open(self) -> None:
        self._db = connect(self.place.dsn)

    def connect_to_build(self) -> None:
        """As `open`, with as much memory as an index wants, and one processor, as all contenders have."""
        self._db = connect(self.place.dsn)
        self._db.execute("set maintenance_work_mem = '4GB'")
        self._db.execute("set max_parallel_maintenance_workers = 0")

    def versions(self) -> dict[str, str]:
        rows = self._db.execute(
            "select 'PostgreSQL', current_setting('server_version')"
            " union all select extname, extversion from pg_extension where extname in ('vector', 'pgcad')"
        ).fetchall()
        return dict(rows)

    def disk_bytes(self) -> dict[str, int]:
        [(all_, empty)] = self._db.execute(
            "select pg_database_size(current_database()), pg_database_size('template1')"
        ).fetchall()
        [(index,)] = self._db.execute(INDEX_BYTES).fetchall()
        return {"all": all_ - empty, "index": int(index or 0)}

    def memory_bytes(self) -> int:
        self._db.execute("create extension if not exists pg_buffercache")
        [(cached,)] = self._db.execute(CACHED_BYTES).fetchall()
        return int(cached) + private_bytes(self._db.info.backend_pid)
