"""Who may do what: public nothing, a reader searches, a loader loads, an admin maintains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService
from sql_catalogue import assert_snapshot

Connection = psycopg.Connection[Any]
LEVELS = ("reader", "loader", "admin")

PRIVILEGES = """
select format(
    '%s: %s on %s', coalesce(r.rolname, 'public'), string_agg(a.privilege_type, ', ' order by a.privilege_type), o.name
)
from (
    select p.oid::regprocedure::text as name, p.proowner as owner,
        coalesce(p.proacl, acldefault('f', p.proowner)) as acl
    from pg_proc as p where p.pronamespace = 'cad'::regnamespace
    union all
    select c.oid::regclass::text, c.relowner, coalesce(c.relacl, acldefault('r', c.relowner))
    from pg_class as c where c.relnamespace = 'cad'::regnamespace and c.relkind in ('r', 'p', 'v')
    union all
    select c.oid::regclass || '.' || t.attname, c.relowner, t.attacl
    from pg_class as c join pg_attribute as t on t.attrelid = c.oid where c.relnamespace = 'cad'::regnamespace
    union all
    select t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
    from pg_type as t join pg_class as c on c.oid = t.typrelid and c.relkind = 'c'
    where t.typnamespace = 'cad'::regnamespace
    union all
    select n.nspname, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
    from pg_namespace as n where n.nspname = 'cad'
) as o, aclexplode(o.acl) as a left join pg_roles as r on r.oid = a.grantee
where a.grantee <> o.owner
group by r.rolname, a.grantee, o.name
order by r.rolname, o.name
"""


@pytest.fixture
def roles(db: Connection) -> Iterator[dict[str, str]]:
    """A role of each level; roles belong to the cluster, so they are dropped again."""
    names = {level: f"test_{level}" for level in (*LEVELS, "nobody")}
    for level, name in names.items():
        db.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        if level in LEVELS:
            db.execute("select cad.grant_to(%s, %s)", [name, level])
    yield names
    db.execute("reset role")
    for name in names.values():
        db.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


def test_nothing_is_granted_to_public(db: Connection) -> None:
    assert db.execute(PRIVILEGES).fetchall() == []


def test_levels_grant_what_is_committed(db: Connection, roles: dict[str, str]) -> None:
    db.execute("set search_path = pg_catalog")
    lines = [line for (line,) in db.execute(PRIVILEGES).fetchall()]
    db.execute("reset search_path")
    assert_snapshot("privileges.txt", lines)


@pytest.fixture
def connect(dsn: str, roles: dict[str, str]) -> Iterator[Any]:
    """Opens a session of a level, logged in as it: `session_user` counts, not `set role`."""
    connections = []

    def opened(level: str) -> Connection:
        connection = psycopg.connect(f"{dsn} user={roles[level]}", autocommit=True)
        connections.append(connection)
        return connection

    yield opened
    for connection in connections:
        connection.close()


QUEUE = (
    "insert into cad.ingest (source_uri, format, content, metadata) values (%s, 'step', %s, '{\"family\": \"bolts\"}')"
)


def test_a_stranger_may_do_nothing(connect: Any) -> None:
    stranger = connect("nobody")
    for attempt in ("select cad.embed_text('x')", "select from cad.model", "call cad.ingest_pending()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute(attempt)


def test_a_reader_searches_and_embeds_and_changes_nothing(
    db: Connection, connect: Any, scripted: ScriptedService
) -> None:
    db.execute(QUEUE, ["bolt", b"bolt"])
    db.execute("call cad.ingest_pending()")
    reader = connect("reader")
    assert reader.execute("select cad.embed_text('bolt') is not null").fetchone() == (True,)
    assert reader.execute("select name from cad.search_cad('bolt', 1)").fetchall() == [("bolt",)]
    assert reader.execute("select name from cad.search_cad_shape('bolt', 'step', 1)").fetchall() == [("bolt",)]
    assert reader.execute("select count(*) from cad.ingest_status").fetchone() is not None
    for attempt in (
        "insert into cad.ingest (source_uri, format, content) values ('x', 'step', 'x')",
        "call cad.ingest_pending()",
        "update cad.model set name = 'mine'",
        "select cad.add_space('mine', 3)",
        "select * from cad.doctor()",
        "select cad._move_family('cad', 'bolts')",
        "select cad.grant_to('test_reader', 'admin')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(attempt)


def test_a_loader_loads(connect: Any, scripted: ScriptedService) -> None:
    loader = connect("loader")
    loader.execute(QUEUE, ["bolt", b"bolt"])
    loader.execute(QUEUE, ["twin", b"bolt"])
    loader.execute(QUEUE, ["bad", b"fail 22023"])
    loader.execute("call cad.ingest_pending()")
    assert loader.execute("select state, outcome, requested_by from cad.ingest order by ingest_id").fetchall() == [
        ("done", "new", "test_loader"), ("done", "duplicate", "test_loader"), ("failed", None, "test_loader"),
    ]  # fmt: skip
    assert loader.execute("select cad.retry_failed()").fetchone() == (1,)
    for attempt in (
        "delete from cad.model",
        "update cad.model set name = 'mine'",
        "call cad.promote_family('bolts')",
        "update cad.space set dim = 3",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            loader.execute(attempt)


def test_an_admin_maintains(db: Connection, connect: Any, scripted: ScriptedService) -> None:
    admin = connect("admin")
    admin.execute(QUEUE, ["bolt", b"bolt"])
    admin.execute("call cad.ingest_pending()")
    admin.execute("select cad.add_space('mine', 3)")
    admin.execute("call cad.promote_family('bolts')")
    admin.execute("update cad.fusion_weight set lexical = 1")
    assert admin.execute("select status from cad.doctor() where check_name = 'encoder service'").fetchone() == ("ok",)
    assert admin.execute("select cad._is_promoted('cad', 'bolts')").fetchone() == (True,)
    admin.execute("delete from cad.model")
    assert admin.execute("select count(*) from cad.space_cad").fetchone() == (0,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        admin.execute("delete from cad.migration")


def test_a_new_space_is_readable_for_readers(connect: Any) -> None:
    connect("admin").execute("select cad.add_space('mine', 3)")
    assert connect("reader").execute("select count(*) from cad.space_mine").fetchone() == (0,)


def test_only_administrators_choose_the_socket(db: Connection, connect: Any, scripted: ScriptedService) -> None:
    reader = connect("reader")
    reader.execute("set pgcad.socket = '/elsewhere/evil.sock'")
    reader.execute("set pgcad.encoder = 'inline'")
    assert reader.execute("select cad.encoder_health() ->> 'status'").fetchone() == ("ok",)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(f"alter database {db.info.dbname} set pgcad.socket = '/elsewhere'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("alter role test_reader set pgcad.socket = '/elsewhere'")
    db.execute("set pgcad.socket = '/elsewhere'")
    with pytest.raises(psycopg.OperationalError, match="/elsewhere"):
        db.execute("select cad.encoder_health()")


def test_settings_come_from_the_most_specific_trusted_place(db: Connection, connect: Any) -> None:
    database = sql.Identifier(db.info.dbname)
    reader, setting = connect("reader"), "select cad._server_settings() ->> 'pgcad.socket'"
    db.execute("alter system set pgcad.socket = '/system'")
    try:
        db.execute(sql.SQL("alter database {} reset pgcad.socket").format(database))
        assert reader.execute(setting).fetchone() == ("/system",)
        db.execute(sql.SQL("alter database {} set pgcad.socket = '/database'").format(database))
        assert reader.execute(setting).fetchone() == ("/database",)
    finally:
        db.execute("alter system reset pgcad.socket")


def test_row_level_security_on_parts_holds_in_searches(db: Connection, connect: Any, scripted: ScriptedService) -> None:
    db.execute(QUEUE, ["open", b"open bolt"])
    db.execute(QUEUE.replace("bolts", "secret"), ["secret", b"secret bolt"])
    db.execute("call cad.ingest_pending()")
    db.execute("alter table cad.model enable row level security")
    db.execute("create policy p on cad.model using (family <> 'secret')")
    reader = connect("reader")
    for search in (
        "select name from cad.search_cad('bolt', 10)",
        "select name from cad.search_cad_shape('secret bolt', 'step', 10)",
        "select name from cad.part",
    ):
        assert reader.execute(search).fetchall() == [("open",)]


PART_TABLES = ("artifact", "space_cad", "space_cad_view", "view_image")
POLICIES = [
    f"alter table cad.{table} enable row level security;"
    f" create policy visible_parts on cad.{table}"
    f" using (exists (select from cad.model as m where m.model_id = {table}.model_id))"
    for table in PART_TABLES
]


def test_what_belongs_to_a_part_needs_policies_of_its_own(
    db: Connection, connect: Any, scripted: ScriptedService
) -> None:
    """As docs/design.md says; doctor warns until they are there."""
    db.execute(QUEUE, ["open", b"open bolt"])
    db.execute(QUEUE.replace("bolts", "secret"), ["secret", b"secret bolt"])
    db.execute("call cad.ingest_pending()")
    db.execute("call cad.promote_family('secret')")
    db.execute("alter table cad.model enable row level security")
    db.execute("create policy p on cad.model using (family <> 'secret')")
    reader = connect("reader")
    check = "select status, detail, hint from cad.doctor() where check_name = 'row level security'"
    status, detail, hint = db.execute(check).fetchone() or ("", "", "")
    assert (status, detail) == ("warning", f"on cad.model, but not on {', '.join(PART_TABLES)}")
    assert "create policy" in hint
    for table in (*PART_TABLES, "view"):
        assert reader.execute(f"select count(distinct model_id) from cad.{table}").fetchone() == (2,)
    for policy in POLICIES:
        db.execute(policy)
    assert db.execute(check).fetchone() == ("ok", "covers all or none", None)
    for table in (*PART_TABLES, "view"):
        assert reader.execute(f"select count(distinct model_id) from cad.{table}").fetchone() == (1,)
    for search in ("search_cad('bolt'", "search_cad_shape('secret bolt', 'step'", "search_cad_image('x'"):
        for strategy in ("exact", "hnsw"):
            found = reader.execute(f"select name from cad.{search}, options => %s)", [Jsonb({"strategy": strategy})])
            assert found.fetchall() == [("open",)]
    partitions = db.execute(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'cad.space_cad'::regclass"
    )
    for (partition,) in partitions.fetchall():
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"select from {partition}")


def test_a_part_that_a_loader_may_not_see_is_an_error_of_the_row(
    db: Connection, connect: Any, scripted: ScriptedService
) -> None:
    db.execute(QUEUE.replace("bolts", "secret"), ["secret", b"secret bolt"])
    db.execute("call cad.ingest_pending()")
    db.execute("alter table cad.model enable row level security")
    db.execute("create policy p on cad.model using (family <> 'secret')")
    loader = connect("loader")
    loader.execute(QUEUE, ["the same", b"secret bolt"])
    loader.execute(QUEUE.replace("bolts", "secret"), ["forbidden", b"another bolt"])
    loader.execute(QUEUE, ["open", b"open bolt"])
    loader.execute("call cad.ingest_pending()")
    rows = db.execute("select source_uri, state, last_sqlstate, last_error from cad.ingest").fetchall()
    results = {uri: (state, sqlstate) for uri, state, sqlstate, _ in rows}
    assert results == {
        "secret": ("done", None),
        "the same": ("failed", "42501"),
        "forbidden": ("failed", "42501"),
        "open": ("done", None),
    }
    [reason] = [error for uri, _, _, error in rows if uri == "the same"]
    assert "a part with the same bytes is there, but role test_loader may not see it" in reason


def test_an_unknown_level_is_refused(db: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="unknown level 'god'"):
        db.execute("select cad.grant_to('postgres', 'god')")
