"""Run plpgsql_check over every PL/pgSQL function and procedure of the extension, in a live database."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from pgcad_load.cluster import LocalCluster

PROBLEMS = """
select f.oid::regprocedure::text, c.lineno, c.level, c.message, c.hint
from pg_proc as f
inner join pg_language as l on l.oid = f.prolang and l.lanname = 'plpgsql'
inner join pg_depend as d on d.objid = f.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e'
inner join pg_extension as e on e.oid = d.refobjid and e.extname = 'pgcad'
cross join lateral plpgsql_check_function_tb(
    f.oid::regprocedure, coalesce((
        select t.tgrelid from pg_trigger as t where t.tgfoid = f.oid limit 1
    ), case when f.prorettype = 'trigger'::regtype then 'cad.space_cad'::regclass else 0 end),
    extra_warnings => false, security_warnings => true
) as c
order by 1, 2
"""


def main() -> int:
    """Print one line for each problem; returns 1 when there is one."""
    state = Path(tempfile.mkdtemp(prefix="pgcad-lint-"))
    cluster = LocalCluster.at(state, durable=False)
    try:
        cluster.start()
        cluster.create_database()
        with cluster.connect() as connection:
            connection.execute("create extension plpgsql_check")
            problems = connection.execute(PROBLEMS).fetchall()
    finally:
        cluster.stop()
        shutil.rmtree(state)
    for function, line, level, message, hint in problems:
        print(f"{function}:{line or 0}: {level}: {message}{f' ({hint})' if hint else ''}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
