"""Frames that the service reads: limits hold before a body is read."""

from __future__ import annotations

import asyncio
import struct

import pytest
from pgcad.client import HEADER_LIMIT, PAYLOAD_LIMIT, pack
from pgcad.errors import CadError
from pgcad.service.frames import ByteBudget, Frame, receive


def read(data: bytes, budget_bytes: int = 1 << 30) -> Frame | None:
    """What the service makes of a connection that sends `data` and closes."""

    async def reading() -> Frame | None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await receive(reader, ByteBudget(budget_bytes))

    return asyncio.run(reading())


def header_only(text: str) -> bytes:
    return struct.pack(">I", len(text.encode())) + text.encode()


def test_a_frame_arrives_whole() -> None:
    frame = read(pack({"op": "analyse", "text": "螺母"}, [b"ab", b"", b"c"]))
    assert frame is not None
    assert (frame.header["text"], frame.payloads) == ("螺母", [b"ab", b"", b"c"])


@pytest.mark.parametrize("end", [0, 2, 10, -1])
def test_a_closed_connection_is_no_frame(end: int) -> None:
    assert read(pack({"op": "health"}, [b"abc"])[:end]) is None


@pytest.mark.parametrize(
    ("data", "sqlstate"),
    [
        (struct.pack(">I", HEADER_LIMIT + 1), "54000"),
        (header_only(f'{{"v": 1, "payloads": [{PAYLOAD_LIMIT}, 1]}}'), "54000"),
        (header_only('{"v": 1, "payloads": [-1]}'), "08P01"),
        (header_only('{"v": 1, "payloads": [true]}'), "08P01"),
        (header_only('{"v": 1, "payloads": "3"}'), "08P01"),
        (header_only('{"v": 1}'), "08P01"),
        (header_only("[" * 100_000), "08P01"),
        (header_only("not json"), "08P01"),
        (header_only('{"v": 2, "payloads": []}'), "08P01"),
        (b"\x00\x00\x00\x02\xff\xfe", "08P01"),
    ],
)
def test_malformed_frames_are_refused_before_their_bodies(data: bytes, sqlstate: str) -> None:
    with pytest.raises(CadError) as refused:
        read(data)
    assert refused.value.sqlstate == sqlstate


def test_a_large_frame_waits_until_another_is_done_and_a_small_one_does_not() -> None:
    large, small = 2 << 20, 1000

    async def scenario() -> list[str]:
        budget, events = ByteBudget(3 << 20), list[str]()

        async def hold(name: str, size: int) -> None:
            await budget.reserve(size)
            events.append(name)

        await hold("first", large)
        second = asyncio.create_task(hold("second", large))
        await asyncio.sleep(0)
        await hold("small", small)
        events.append("release")
        budget.release(large)
        await second
        return events

    assert asyncio.run(scenario()) == ["first", "small", "release", "second"]
