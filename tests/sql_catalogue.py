"""What the extension consists of, as lines of text that can be compared."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg

SNAPSHOTS = Path(__file__).parent / "sql" / "snapshots"

MEMBERS = """
with member as (
    select d.classid, d.objid
    from pg_depend as d
    join pg_extension as e on e.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
    where e.extname = 'pgcad' and d.deptype = 'e'
)
select format(
    '%s %s(%s)%s %s %s%s parallel %s%s',
    case p.prokind when 'p' then 'procedure' else 'function' end, p.oid::regproc, pg_get_function_arguments(p.oid),
    ' returns ' || pg_get_function_result(p.oid), l.lanname,
    case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
    case when p.proisstrict then ' strict' else '' end,
    case p.proparallel when 's' then 'safe' when 'r' then 'restricted' else 'unsafe' end,
    case when p.prosecdef then ' security definer' else '' end
)
from member join pg_proc as p on p.oid = member.objid and member.classid = 'pg_proc'::regclass
join pg_language as l on l.oid = p.prolang
union all
select format(
    '%s %s', case c.relkind when 'v' then 'view' when 'S' then 'sequence' when 'c' then 'type' else 'table' end,
    c.oid::regclass
)
from member join pg_class as c on c.oid = member.objid and member.classid = 'pg_class'::regclass
union all
select format('%s.%s %s%s%s', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod),
    case when a.attnotnull then ' not null' else '' end, ' default ' || pg_get_expr(v.adbin, v.adrelid))
from member join pg_class as c on c.oid = member.objid and member.classid = 'pg_class'::regclass and c.relkind <> 'S'
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef as v on v.adrelid = a.attrelid and v.adnum = a.attnum
union all
select format('type %s.%s %s', t.oid::regtype, a.attname, format_type(a.atttypid, a.atttypmod))
from member join pg_type as t on t.oid = member.objid and member.classid = 'pg_type'::regclass and t.typtype = 'c'
join pg_attribute as a on a.attrelid = t.typrelid and a.attnum > 0
where (select c.relkind from pg_class as c where c.oid = t.typrelid) = 'c'
union all
select format('schema %s', n.nspname)
from member join pg_namespace as n on n.oid = member.objid and member.classid = 'pg_namespace'::regclass
union all
select format('constraint %s %s', k.conrelid::regclass, pg_get_constraintdef(k.oid))
from member join pg_constraint as k on k.conrelid = member.objid and member.classid = 'pg_class'::regclass
where k.contype <> 'n' -- PostgreSQL 18 lists not-null here too; the columns above show it
union all
select pg_get_indexdef(x.indexrelid)
from member join pg_index as x on x.indrelid = member.objid and member.classid = 'pg_class'::regclass
union all
select pg_get_triggerdef(t.oid)
from member join pg_trigger as t on t.tgrelid = member.objid and member.classid = 'pg_class'::regclass
where not t.tgisinternal
order by 1
"""

BODIES = """
select p.oid::regprocedure::text, pg_get_functiondef(p.oid), obj_description(p.oid), p.proacl::text
from pg_proc as p where p.pronamespace = 'cad'::regnamespace
union all
select c.oid::regclass::text, pg_get_viewdef(c.oid), obj_description(c.oid), c.relacl::text
from pg_class as c where c.relnamespace = 'cad'::regnamespace and c.relkind in ('r', 'p', 'v')
union all
select c.oid::regclass::text || '.' || a.attname, a.attstorage::text, col_description(c.oid, a.attnum), null
from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
where c.relnamespace = 'cad'::regnamespace and c.relkind in ('r', 'p', 'v')
union all
select 'dump ' || config.oid::regclass, config.filter, null, null
from pg_extension as e, unnest(e.extconfig, e.extcondition) as config (oid, filter)
where e.extname = 'pgcad'
order by 1
"""


def members(db: psycopg.Connection[Any]) -> list[str]:
    """Signatures of functions, columns, constraints, indexes and triggers of the extension."""
    db.execute("set search_path = pg_catalog")
    lines = [str(line) for (line,) in db.execute(MEMBERS)]
    db.execute("reset search_path")
    return lines


def bodies(db: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Definitions, comments and privileges of everything in schema cad."""
    return db.execute(BODIES).fetchall()


def assert_snapshot(name: str, lines: list[str]) -> None:
    """Compare with the committed file. With PGCAD_ACCEPT=1 in the environment write it: then review the diff."""
    path, text = SNAPSHOTS / name, "\n".join(lines) + "\n"
    if os.environ.get("PGCAD_ACCEPT") == "1":
        path.write_text(text)
    assert path.read_text().splitlines() == text.splitlines(), f"if this is meant, run with PGCAD_ACCEPT=1: {path}"
