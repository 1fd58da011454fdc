"""Upgrades: an older version and this one meet in the same catalogue, and a released migration stays as it was."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pgcad
import psycopg
import pytest
from sql_catalogue import bodies, members

Connection = psycopg.Connection[Any]
ROOT = Path(__file__).resolve().parents[2]


def former(files: Sequence[str], migration: str) -> tuple[str, ...]:
    """The idempotent files before `migration`: without those that need it, every function and view a little other."""
    needs = re.compile(
        "|".join(map(re.escape, re.findall(r"^create (?:unlogged )?\w+ (cad\.\w+)", migration, re.MULTILINE)))
    )
    files = [re.sub(rf"^revoke .*({needs.pattern}) .*\n", "", sql, flags=re.MULTILINE) for sql in files]
    old = []
    for sql in files:
        if needs.search(sql):
            continue
        for pattern, replacement in (
            (r"^as \$\$$", "as $$ -- formerly"),
            (r"^as \$python\$$", "as $python$ # formerly"),
            (r" security definer$", ""),
            (r"parallel safe", "parallel unsafe"),
            (r"^from cad\.(model|ingest) as", r"from (select * from cad.\1 limit 7) as"),
            (r"^(comment on [^']*)'", r"\1'Formerly: "),
        ):
            sql = re.sub(pattern, replacement, sql, flags=re.MULTILINE)
        old.append(sql)
    assert len(old) > len(files) / 2
    return ("set local check_function_bodies = off;\n", *old)  # some call what the files left out define


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """extensions/build.py as a module."""
    spec = importlib.util.spec_from_file_location("pgcad_build", ROOT / "extensions" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def old_version(build: ModuleType, installed_extension: None, tmp_path: Path) -> Iterator[str]:
    """A version 0.0.1, without the last migration and with other functions and views, and the upgrade from it."""
    source, old = build.read_source(), "0.0.1"
    *known, last = source.migrations
    known = [replace(m, released_in=old) for m in known]
    before = replace(
        source, version=old, migrations=tuple(known), idempotent=former(source.idempotent, last.sql), released=()
    )
    now = replace(source, migrations=(*known, last), released=(old,))
    files = [tmp_path / f"pgcad--{old}.sql", tmp_path / f"pgcad--{old}--{now.version}.sql"]
    files[0].write_text(before.install_script())
    files[1].write_text(now.scripts()[files[1].name])
    folder = build.install(files, os.environ.get("PG_CONFIG", "pg_config"))
    yield old
    sudo = [] if os.access(folder, os.W_OK) else ["sudo"]
    subprocess.run([*sudo, "rm", *(folder / file.name for file in files)], check=True)


def test_an_upgrade_is_as_good_as_a_fresh_install(db: Connection, old_version: str) -> None:
    fresh = members(db), bodies(db)
    db.execute("drop extension pgcad")
    db.execute(f"create extension pgcad version '{old_version}'")
    old = {name: rest for name, *rest in bodies(db)}
    replaced = [name for name, *rest in fresh[1] if name in old and old[name] != rest]
    assert len([name for name in replaced if "(" in name]) > 50  # functions
    assert {"part", "family_summary", "ingest_status"} <= set(replaced)
    db.execute("insert into cad.model (name, sha256, format, kind) values ('M8x40', sha256('a'), 'step', 'part')")
    db.execute("alter extension pgcad update")
    assert (members(db), bodies(db)) == fresh
    assert db.execute("select name from cad.model where lexemes @@ 'm8'").fetchall() == [("M8x40",)]


def test_every_migration_is_recorded_once(db: Connection, build: ModuleType, old_version: str) -> None:
    migrations = {m.name: m.sha256 for m in build.read_source().migrations}
    record = "select name, sha256 from cad.migration"
    assert dict(db.execute(record).fetchall()) == migrations
    db.execute("drop extension pgcad")
    db.execute(f"create extension pgcad version '{old_version}'")
    db.execute("alter extension pgcad update")
    assert dict(db.execute(record).fetchall()) == migrations
    assert db.execute("select array_agg(distinct version) from cad.migration").fetchone() == (
        [old_version, build.read_source().version],
    )


@pytest.fixture
def incremental(tmp_path: Path) -> Path:
    (tmp_path / "000-first.sql").write_text("select 1;\n")
    (tmp_path / "010-second.sql").write_text("select 2;\n")
    return tmp_path


def test_a_release_freezes_its_migrations(build: ModuleType, incremental: Path) -> None:
    source = build.Source("0.1.0", "", build.read_migrations(incremental, {}), (), ())
    ledger = incremental / "frozen.txt"
    ledger.write_text("# a comment\n")
    build.freeze(source, ledger)
    frozen, released = build.read_frozen(ledger)
    assert released == ("0.1.0",)
    assert [m.released_in for m in build.read_migrations(incremental, frozen)] == ["0.1.0", "0.1.0"]

    (incremental / "020-third.sql").write_text("select 3;\n")
    later = replace(source, version="0.2.0", migrations=build.read_migrations(incremental, frozen), released=released)
    assert "select 3" in later.scripts()["pgcad--0.1.0--0.2.0.sql"]
    assert "select 2" not in later.scripts()["pgcad--0.1.0--0.2.0.sql"]
    assert "select 2" in later.scripts()["pgcad--0.2.0.sql"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "000-first.sql").write_text("select 9;\n"), "000-first.sql changed.*new file"),
        (lambda folder: (folder / "000-first.sql").unlink(), "000-first.sql.*Restore"),
        (lambda folder: (folder / "005-late.sql").write_text("select 5;\n"), "005-late.sql stands before"),
    ],
)
def test_released_migrations_are_frozen(build: ModuleType, incremental: Path, change: Any, message: str) -> None:
    ledger = incremental / "frozen.txt"
    ledger.touch()
    build.freeze(build.Source("0.1.0", "", build.read_migrations(incremental, {}), (), ()), ledger)
    change(incremental)
    frozen, _ = build.read_frozen(ledger)
    with pytest.raises(build.BuildError, match=message):
        build.read_migrations(incremental, frozen)


def test_a_version_is_released_once(build: ModuleType, incremental: Path) -> None:
    source = build.Source("0.1.0", "", (), (), ("0.1.0",))
    with pytest.raises(build.BuildError, match="released already"):
        build.freeze(source, incremental / "frozen.txt")


def test_a_session_takes_up_a_new_client_and_a_new_wrapper(build: ModuleType) -> None:
    """The name that a session keeps the loaded client by changes with both."""
    caller, wrapper = "@client_sha256@", "@client_sha256@ r'''@client_source@'''"
    names = {
        build.inline_file([caller, text], "client", client)[0]
        for text in (wrapper, f"{wrapper} changed")
        for client in ("client", "client changed")
    }
    assert len(names) == 4
    called, defined = build.inline_file([caller, wrapper], "client", "client")
    assert defined == f"{called} r'''client'''"


def test_extension_and_package_are_one_version(build: ModuleType) -> None:
    assert build.read_source().version == pgcad.__version__


def test_versions_are_ordered_as_numbers(build: ModuleType) -> None:
    assert build.version_key("0.10.0") > build.version_key("0.9.3")
