"""The service's Unix socket: one service per path, permissions from the first moment, stale files taken over."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import grp
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

from pgcad.errors import CadError

PATH_LIMIT = 107  # sun_path of unix(7), less its terminating zero


@contextlib.asynccontextmanager
async def listening_socket(path: Path, group: str | None, patience_s: float) -> AsyncIterator[socket.socket]:
    """Bind and listen at `path`, mode 0660; remove it afterwards. Raises CadError 22023, 42501, 55006.

    A lock on `path`.lock decides who owns the path, so a socket file left behind by a crash can be removed safely.
    A service that is on its way out gets `patience_s` to leave.
    """
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise CadError("22023", f"socket path {path} is longer than {PATH_LIMIT} bytes", "Use a shorter --socket.")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        hint = "Give a --socket in a folder of this user."
        raise CadError("42501", f"cannot use {path.parent}", hint, str(error)) from None
    with lock, socket.socket(socket.AF_UNIX) as listener:
        await _own(lock, path, patience_s)
        path.unlink(missing_ok=True)
        _bind(listener, path, group)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


async def _own(lock: TextIO, path: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                hint = "Stop it first, or use another --socket."
                raise CadError("55006", f"another service listens at {path}", hint) from None
            await asyncio.sleep(0.1)


def _bind(listener: socket.socket, path: Path, group: str | None) -> None:
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    if group is not None:
        try:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        except (KeyError, PermissionError) as error:
            hint = "Name an existing group that the service's user belongs to."
            raise CadError("22023", f"cannot give the socket to group {group!r}", hint, str(error)) from None
    listener.listen(256)
    listener.setblocking(False)
