"""Upgrades: an older version and this one meet in the same catalogue, and a released migration stays as it was."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
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
    """A version 0.0.1 that knew parts but no vectors, and the upgrade from it, in the server's extension folder."""
    source, old = build.read_source(), "0.0.1"
    known = tuple(replace(m, released_in=old) if m.name < "040" else m for m in source.migrations)
    before = replace(
        source, version=old, migrations=tuple(m for m in known if m.released_in), idempotent=(), released=()
    )
    now = replace(source, migrations=known, released=(old,))
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


def test_extension_and_package_are_one_version(build: ModuleType) -> None:
    assert build.read_source().version == pgcad.__version__


def test_versions_are_ordered_as_numbers(build: ModuleType) -> None:
    assert build.version_key("0.10.0") > build.version_key("0.9.3")
