"""Reading frames (docs/design.md, "Protocol, version 1"): limits are checked before a body is read."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from pgcad.client import HEADER_LIMIT, PAYLOAD_LIMIT, PROTOCOL
from pgcad.errors import CadError

BODY_TIMEOUT_S = 60.0
SMALL_FRAME = 1 << 20


class Frame(NamedTuple):
    header: dict[str, Any]
    payloads: list[bytes]


class ByteBudget:
    """Bounds the payload bytes held in memory at once: a frame that does not fit waits in its sender's socket.

    Frames below 1 MiB (queries) never wait; one frame always fits, however large, so nothing waits for ever.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._freed = asyncio.Event()

    async def reserve(self, size: int) -> None:
        if size >= SMALL_FRAME:
            while self._held_bytes and self._held_bytes + size > self._limit_bytes:
                self._freed.clear()
                await self._freed.wait()
            self._held_bytes += size

    def release(self, size: int) -> None:
        if size >= SMALL_FRAME:
            self._held_bytes -= size
            self._freed.set()


def header_size(prefix: bytes) -> int:
    """Length of the header that follows. Raises CadError 54000 over the limit."""
    size: int = struct.unpack(">I", prefix)[0]
    if size > HEADER_LIMIT:
        raise CadError("54000", f"header of {size:,} bytes; the limit is {HEADER_LIMIT:,}", "Send a shorter text.")
    return size


def parse_header(text: bytes) -> tuple[dict[str, Any], list[int]]:
    """The header and the sizes of the payloads behind it. Raises CadError 08P01 (malformed) or 54000 (too large)."""
    try:
        header = json.loads(text)
        version, sizes = header["v"], header["payloads"]
        well_formed = isinstance(sizes, list) and all(type(size) is int and size >= 0 for size in sizes)
    except (ValueError, KeyError, TypeError, RecursionError):
        well_formed = False
    if not well_formed:
        raise CadError("08P01", "malformed frame header", "Use the client of the pgcad extension.")
    if version != PROTOCOL:
        raise CadError(
            "08P01",
            f"protocol version {version!r} is not supported; this service speaks {PROTOCOL}",
            "Install the same version of pgcad on both sides and restart pgcad serve.",
        )
    if sum(sizes) > PAYLOAD_LIMIT:
        raise CadError(
            "54000", f"payloads of {sum(sizes):,} bytes; the limit is {PAYLOAD_LIMIT:,}", "Send fewer at a time."
        )
    return header, sizes


async def receive(reader: asyncio.StreamReader, budget: ByteBudget) -> Frame | None:
    """The next frame, or None when the peer has closed. Its bytes stay reserved in `budget` until released."""
    try:
        prefix = await reader.readexactly(4)
        async with asyncio.timeout(BODY_TIMEOUT_S):
            header, sizes = parse_header(await reader.readexactly(header_size(prefix)))
        await budget.reserve(sum(sizes))
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return Frame(header, [await reader.readexactly(size) for size in sizes])
        except BaseException:
            budget.release(sum(sizes))
            raise
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except TimeoutError:
        raise CadError("08P01", f"the rest of a frame did not arrive within {BODY_TIMEOUT_S:.0f} s") from None


def payload_bytes(payloads: Sequence[bytes]) -> int:
    return sum(map(len, payloads))


def error_header(error: CadError) -> dict[str, Any]:
    """The header that carries `error` to the client."""
    return {
        "ok": False,
        "error": {"sqlstate": error.sqlstate, "message": error.message, "detail": error.detail, "hint": error.hint},
    }


def error_of(header: dict[str, Any]) -> CadError | None:
    """The error that an answer's header carries, if any."""
    if header.get("ok"):
        return None
    error = header["error"]
    return CadError(error["sqlstate"], error["message"], error["hint"], error["detail"])
