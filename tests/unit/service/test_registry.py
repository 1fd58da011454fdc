"""Encoders that are opened on demand: once, in the background, a few at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from pgcad.encoders.brep_space import BrepSpace, NativeSpec
from pgcad.encoders.encoder import Encoder
from pgcad.encoders.spec import Spec
from pgcad.errors import CadError
from pgcad.service.logs import Log
from pgcad.service.open_encoder import BatchedEncoder
from pgcad.service.registry import Registry
from service_doubles.space import TinySpace

SPECS = [NativeSpec(name) for name in ("a", "b", "c")]


class Opener:
    """Opens an encoder when it is let, and remembers what it opened."""

    def __init__(self) -> None:
        self.let, self.opened, self.failures = threading.Event(), list[Spec](), 0
        self.let.set()

    def __call__(self, spec: Spec) -> Encoder:
        self.let.wait(60)
        self.opened.append(spec)
        if self.failures:
            self.failures -= 1
            raise CadError("55000", "damaged")
        return BrepSpace(TinySpace())


def with_registry(scenario: Callable[[Registry, Opener], Awaitable[None]], capacity: int = 2) -> Opener:
    opener = Opener()

    async def run() -> None:
        await scenario(Registry(opener, lambda one: BatchedEncoder(one, "cpu", 10), Log("error"), capacity), opener)

    asyncio.run(run())
    return opener


def test_one_encoder_serves_all_who_describe_it_alike() -> None:
    async def scenario(registry: Registry, opener: Opener) -> None:
        opener.let.clear()
        asking = [asyncio.create_task(registry.get(space, NativeSpec("a"))) for space in ("x", "y", "x")]
        await asyncio.sleep(0.01)  # the event loop is free while it loads
        opener.let.set()
        assert len({id(opened) for opened in await asyncio.gather(*asking)}) == 1
        assert registry.health().keys() == {"x", "y"}
        assert registry.health()["x"]["version"] == "brep-tiny"

    assert with_registry(scenario).opened == [SPECS[0]]


def test_the_one_that_was_not_used_goes_first() -> None:
    async def scenario(registry: Registry, opener: Opener) -> None:
        for index in (0, 1, 0, 2, 0, 1):
            await registry.get(f"space {index}", SPECS[index])
        assert registry.health().keys() == {"space 0", "space 1"}

    assert with_registry(scenario).opened == [SPECS[0], SPECS[1], SPECS[2], SPECS[1]]


def test_a_failure_is_told_and_tried_again() -> None:
    async def scenario(registry: Registry, opener: Opener) -> None:
        opener.failures = 1
        with pytest.raises(CadError, match="damaged"):
            await registry.get("x", SPECS[0])
        assert registry.health() == {}
        assert (await registry.get("x", SPECS[0])).encoder.version == "brep-tiny"

    assert len(with_registry(scenario).opened) == 2


def test_a_client_that_goes_does_not_take_the_loading_along() -> None:
    async def scenario(registry: Registry, opener: Opener) -> None:
        opener.let.clear()
        gone = asyncio.create_task(registry.get("x", SPECS[0]))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.wait([gone])
        opener.let.set()
        await registry.get("x", SPECS[0])

    assert len(with_registry(scenario).opened) == 1
