"""PgBouncer before a server, as it stands before one that many clients ask: they share few connections."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
CONNECTIONS = 2 * (os.cpu_count() or 1)
PORT = 6432  # of the name of its socket, in a folder of its own
START_TIMEOUT_S = 10
CONFIGURATION = """\
[databases]
{dbname} = {server}
[pgbouncer]
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
"""


@contextmanager
def pooled(dsn: str) -> Iterator[str | None]:
    """Connection string that leads to the same database through a pool of CONNECTIONS; None without PgBouncer."""
    if PROGRAM is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        configuration = _configured(dsn, Path(folder))
        process = subprocess.Popen([PROGRAM, "--quiet", configuration], **_as_somebody(configuration.parent))
        try:
            through = make_conninfo(**{**_part(dsn, "user", "dbname"), "host": folder, "port": PORT})
            _wait(through)
            yield through
        finally:
            process.terminate()
            process.wait()


def _part(dsn: str, *keys: str) -> dict[str, Any]:
    given = conninfo_to_dict(dsn)
    return {key: given[key] for key in keys if key in given}


def _configured(dsn: str, folder: Path) -> Path:
    server = " ".join(
        f"{key}='{value}'" for key, value in _part(dsn, "host", "port", "dbname", "user", "password").items()
    )
    path = folder / "pgbouncer.ini"
    path.write_text(
        CONFIGURATION.format(
            dbname=conninfo_to_dict(dsn)["dbname"], server=server, port=PORT, folder=folder, connections=CONNECTIONS
        )
    )
    return path


def _as_somebody(folder: Path) -> dict[str, Any]:
    """It refuses to run as root: then it runs as the server does, who gets its folder."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    for path in (folder, *folder.iterdir()):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _wait(dsn: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(dsn).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
