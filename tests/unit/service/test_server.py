"""The front: what it holds, how it ends, and with which exit status."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from pgcad.client import pack
from pgcad.errors import CadError
from pgcad.service import server
from pgcad.service.logs import Log
from pgcad.service.server import Front

LARGE = 2 << 20


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [("22023", 78), ("42501", 78), ("55000", 78), ("55006", 75), ("58000", 75), ("53200", 75)],
)
def test_only_what_is_wrong_for_good_ends_supervision(
    monkeypatch: pytest.MonkeyPatch, sqlstate: str, status: int
) -> None:
    async def fail(*_: object) -> None:
        raise CadError(sqlstate, "it cannot start")

    monkeypatch.setattr(server, "serve", fail)
    assert server.main([]) == status


def test_a_request_cancelled_before_its_first_step_gives_its_bytes_back() -> None:
    async def scenario() -> None:
        front, reader = Front(Log("error")), asyncio.StreamReader()
        reader.feed_data(pack({"op": "analyse", "id": 1}, [bytes(LARGE)]))
        reader.feed_eof()
        await front.connected(reader, MagicMock())
        await asyncio.sleep(0.01)
        assert not front._requests
        assert front._budget._held_bytes == 0

    asyncio.run(scenario())


@contextlib.asynccontextmanager
async def connected(front: Front) -> AsyncIterator[socket.socket]:
    """A connection to `front` whose other end is in the hands of the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "s"))
        listener = await asyncio.start_unix_server(front.connected, path)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            yield peer
        listener.close()


def test_a_peer_that_reads_no_answer_does_not_keep_the_service_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(op: str, *_: Any) -> tuple[dict[str, Any], list[bytes]]:
        if op == "hang":
            await asyncio.sleep(60)
        return {}, [bytes(8 * LARGE)]

    monkeypatch.setattr(server, "dispatch", answer)
    monkeypatch.setattr(server, "FAREWELL_S", 0.2)

    async def scenario() -> None:
        front = Front(Log("error"))
        front.ready(MagicMock())
        async with connected(front) as peer:
            peer.sendall(pack({"op": "large", "id": 1}) + pack({"op": "hang", "id": 2}))
            await asyncio.sleep(0.3)
            assert len(front._requests) == 2
            started = time.monotonic()
            await asyncio.wait_for(front.stop(0.1), 10)
            assert time.monotonic() - started < 2

    asyncio.run(scenario())


def test_an_idle_connection_keeps_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: Any) -> tuple[dict[str, Any], list[bytes]]:
        return {}, []

    monkeypatch.setattr(server, "dispatch", answer)

    async def scenario() -> None:
        front = Front(Log("error"))
        front.ready(MagicMock())
        async with connected(front) as peer:
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(peer, pack({"op": "x", "id": 1}, [bytes(LARGE)]))
            assert await asyncio.get_running_loop().sock_recv(peer, 1000)
            await asyncio.sleep(0.01)
            assert front._budget._held_bytes == 0
            [serving] = [task for task in asyncio.all_tasks() if "connected" in repr(task.get_coro())]
            frame = serving.get_coro().cr_frame  # type: ignore[union-attr]
            assert frame is not None and "frame" not in frame.f_locals
            await front.stop(0)

    asyncio.run(scenario())
