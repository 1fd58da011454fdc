#!/usr/bin/env python3
"""Assemble the extension's scripts from sql/: `pgcad--X.sql`, and `pgcad--OLD--X.sql` for every released OLD.

Incremental files hold tables and types: each runs once in a database, and once released it is frozen. Idempotent
files hold functions and views: all of them run at every install and upgrade. So an upgrade is the migrations that
the old version lacks, then every idempotent file: one hop from any version. `frozen.txt` says which version first
held a migration, and its SHA-256.

Needs the standard library only: it also runs where only the server is.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INLINED = {
    "client": "python_udfs/pgcad/client.py",
    "quantities": "python_udfs/pgcad/encoders/quantities.py",
    "glossary": "python_udfs/pgcad/corpus/glossary.tsv",
}
"""Files that the SQL holds whole, as @client_source@ and so on: Python inside r'''…''' of a PL/Python body, the
glossary inside $tsv$…$tsv$. @client_sha256@ names what was loaded, so that a session takes up a new one after an
upgrade.
"""


class BuildError(Exception):
    """The sources cannot be built into an extension; the message says what to do."""


@dataclass(frozen=True)
class Migration:
    """One incremental file. `released_in` is None until a release has frozen it."""

    name: str
    sql: str
    released_in: str | None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True)
class Source:
    """Everything the scripts of one version are made of."""

    version: str
    preamble: str
    migrations: tuple[Migration, ...]
    idempotent: tuple[str, ...]
    released: tuple[str, ...]

    def install_script(self) -> str:
        """The script of `create extension pgcad`."""
        return self._script(self.migrations)

    def upgrade_script(self, old: str) -> str:
        """The script of `alter extension pgcad update` from the released version `old`."""
        return self._script(
            m for m in self.migrations if m.released_in is None or version_key(m.released_in) > version_key(old)
        )

    def audit_script(self) -> str:
        """The install script as pgspot can read it. It cannot follow what depends on the database it runs in:

        - The schemas of the required extensions are trusted (docs/design.md, "search_path"); here one is made, so that
          everything else in the path is still an error.
        - `set search_path from current` is the path that the preamble sets; here that path is spelled out.
        - `begin atomic` bodies are resolved when they are created; here they become ordinary ones.
        - Variables of a composite type have fields that only the database knows; here they become records.
        """
        path = "set search_path = pg_catalog, cad, public, pg_temp"
        header = "create schema public;\nset search_path = pg_catalog, public, pg_temp;\n"
        body = self.install_script().removeprefix(self.preamble).replace("set search_path from current", path)
        body = body.replace("create schema cad;", f"create schema cad;\n{path};", 1)
        body = re.sub(r"^begin atomic$(.*?)^end;$", rf"{path}\nas $_$\1$_$;", body, flags=re.S | re.M)
        return header + re.sub(r"^( +\w+) cad\.\w+;$", r"\1 record;", body, flags=re.M)

    def scripts(self) -> dict[str, str]:
        """File name → content of every script this version ships."""
        upgrades = {
            f"pgcad--{old}--{self.version}.sql": self.upgrade_script(old)
            for old in self.released
            if old != self.version
        }
        return {f"pgcad--{self.version}.sql": self.install_script(), **upgrades}

    def _script(self, migrations: Iterable[Migration]) -> str:
        steps = [self.preamble, *(self._recorded(m) for m in migrations), *self.idempotent]
        return "\n".join(step.rstrip("\n") + "\n" for step in steps)

    def _recorded(self, migration: Migration) -> str:
        return (
            f"{migration.sql.rstrip()}\n\ninsert into cad.migration (name, version, sha256)\n"
            f"values ('{migration.name}', '{self.version}', '{migration.sha256}');\n"
        )


def version_key(version: str) -> tuple[int, ...]:
    """Order of versions: 0.9.0 before 0.10.0."""
    return tuple(int(number) for number in version.split("."))


def read_frozen(path: Path) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    """Lines `VERSION SHA256 FILE` (a release without new migrations is `VERSION - -`), `#` for comments.

    Returns file → (version, sha256), and the released versions, oldest first.
    """
    lines = [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    frozen = {name: (version, sha256) for version, sha256, name in lines if name != "-"}
    return frozen, tuple(sorted({line[0] for line in lines}, key=version_key))


def read_migrations(folder: Path, frozen: dict[str, tuple[str, str]]) -> tuple[Migration, ...]:
    """The incremental files in order of name. Raises BuildError where a released one changed or is gone."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        version, sha256 = frozen.get(path.name, (None, None))
        migration = Migration(path.name, path.read_text(), version)
        if sha256 not in (None, migration.sha256):
            raise BuildError(
                f"{path.name} changed, but version {version} was released with it and databases have run it. "
                "Restore the file and put the change into a new file with the next number."
            )
        migrations.append(migration)
    missing = sorted(frozen.keys() - {m.name for m in migrations})
    if missing:
        raise BuildError(f"released migrations are gone: {', '.join(missing)}. Restore them.")
    late = [m.name for m, later in pairwise(migrations) if m.released_in is None and later.released_in]
    if late:
        raise BuildError(f"{', '.join(late)} stands before a released migration. Give it the next free number.")
    return tuple(migrations)


def inline_file(files: Sequence[str], name: str, source: str) -> tuple[str, ...]:
    """Put a file into the files of functions. Its hash changes with it and with the files that wrap it."""
    if any(end in source for end in ("'''", "$python$", "$tsv$", "@extschema")):
        holds = "holds ''', $python$, $tsv$ or @extschema, which would end the string that it is put in"
        raise BuildError(f"{INLINED[name]} {holds}")
    place, sha256 = f"@{name}_source@", f"@{name}_sha256@"
    wrappers = [sql for sql in files if place in sql]
    digest = hashlib.sha256("".join([source, *wrappers]).encode()).hexdigest()[:12]
    return tuple(sql.replace(sha256, digest).replace(place, source) for sql in files)


def read_source(root: Path = ROOT) -> Source:
    """Read the sources of the extension. Raises BuildError."""
    control = (root / "extensions/pgcad.control").read_text()
    version = re.search(r"^default_version = '(.+)'$", control, re.MULTILINE)
    if version is None:
        raise BuildError("extensions/pgcad.control has no default_version")
    frozen, released = read_frozen(root / "sql/incremental/frozen.txt")
    idempotent = tuple(path.read_text() for path in sorted((root / "sql/idempotent").glob("*.sql")))
    for name, file in INLINED.items():
        idempotent = inline_file(idempotent, name, (root / file).read_text())
    return Source(
        version=version[1],
        preamble=(root / "extensions/preamble.sql").read_text(),
        migrations=read_migrations(root / "sql/incremental", frozen),
        idempotent=idempotent,
        released=released,
    )


def freeze(source: Source, path: Path) -> None:
    """Record the current version as released."""
    if source.version in source.released:
        raise BuildError(f"{source.version} is released already; raise default_version in pgcad.control")
    new = [m for m in source.migrations if m.released_in is None]
    lines = [f"{source.version} {m.sha256} {m.name}\n" for m in new] or [f"{source.version} - -\n"]
    with path.open("a") as file:
        file.writelines(lines)


def install(files: Iterable[Path], pg_config: str) -> Path:
    """Copy files into the server's extension folder, through sudo where that folder is not ours. Returns the folder."""
    sharedir = subprocess.run([pg_config, "--sharedir"], check=True, capture_output=True, text=True).stdout.strip()
    folder = Path(sharedir) / "extension"
    changed = [file for file in files if not _same(file, folder / file.name)]
    if changed and os.access(folder, os.W_OK):
        for file in changed:
            shutil.copyfile(file, folder / file.name)
            (folder / file.name).chmod(0o644)  # the server reads it, whatever root's umask
    elif changed:
        subprocess.run(["sudo", "install", "-m", "644", *map(str, changed), str(folder)], check=True)
    return folder


def _same(file: Path, installed: Path) -> bool:
    return installed.exists() and file.read_bytes() == installed.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "extensions", help="folder for the scripts")
    parser.add_argument("--install", action="store_true", help="copy them into the server's extension folder")
    parser.add_argument("--audit", action="store_true", help="only print the script in a form that pgspot can read")
    parser.add_argument("--freeze", action="store_true", help="release: freeze the migrations of this version")
    parser.add_argument("--pg-config", default=os.environ.get("PG_CONFIG", "pg_config"), help="of the server")
    arguments = parser.parse_args()
    try:
        source = read_source()
        if arguments.freeze:
            freeze(source, ROOT / "sql/incremental/frozen.txt")
    except BuildError as error:
        sys.exit(f"build.py: {error}")
    if arguments.audit:
        print(source.audit_script())
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    built = []
    for name, script in source.scripts().items():
        built.append(arguments.output / name)
        built[-1].write_text(script)
    print("built", *(path.name for path in built))
    if arguments.install:
        print("installed into", install([ROOT / "extensions/pgcad.control", *built], arguments.pg_config))


if __name__ == "__main__":
    main()
