"""The encoders that are open besides the default one: loaded when first asked for, and kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pgcad.encoders.encoder import Encoder
from pgcad.encoders.spec import Spec
from pgcad.service.logs import Log
from pgcad.service.open_encoder import BatchedEncoder, described

OPEN_ENCODERS = 4
"""A large one takes gigabytes of memory; the one that was not used for the longest time goes first."""


class Registry:
    """One encoder for every description, however many spaces and requests name it.

    They are loaded one after the other in a thread, so that searches of other spaces go on. A failure is not kept: the
    next request tries again.
    """

    def __init__(
        self,
        open_encoder: Callable[[Spec], Encoder],
        in_use: Callable[[Encoder], BatchedEncoder],
        log: Log,
        capacity: int = OPEN_ENCODERS,
    ) -> None:
        self._open_encoder, self._in_use, self._log, self._capacity = open_encoder, in_use, log, capacity
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._loading: dict[Spec, asyncio.Task[BatchedEncoder]] = {}
        self._encoders: OrderedDict[Spec, BatchedEncoder] = OrderedDict()
        self._spaces: dict[str, Spec] = {}

    async def get(self, space: str, spec: Spec) -> BatchedEncoder:
        """The encoder `spec` describes, for a space of that name. Raises CadError as its loading does."""
        if spec not in self._encoders:
            loading = self._loading.get(spec)
            if loading is None:
                loading = self._loading[spec] = asyncio.create_task(self._load(spec))
                loading.add_done_callback(lambda done: self._loaded(spec, done))
            await asyncio.shield(loading)  # a client that goes does not take it along: the next one finds it loaded
            found = loading.result()
        else:
            found = self._encoders[spec]
            self._encoders.move_to_end(spec)
        self._spaces[space] = spec
        return found

    async def _load(self, spec: Spec) -> BatchedEncoder:
        encoder = await asyncio.get_running_loop().run_in_executor(self._loader, self._open_encoder, spec)
        self._log("info", "encoder_open", version=encoder.version, dim=encoder.dim)
        return self._in_use(encoder)

    def _loaded(self, spec: Spec, loading: asyncio.Task[BatchedEncoder]) -> None:
        del self._loading[spec]
        if loading.cancelled() or loading.exception() is not None:
            return
        self._encoders[spec] = loading.result()
        while len(self._encoders) > self._capacity:  # whoever still uses it keeps it until the answer is made
            gone, encoder = self._encoders.popitem(last=False)
            self._spaces = {space: kept for space, kept in self._spaces.items() if kept != gone}
            self._log("info", "encoder_closed", version=encoder.encoder.version)

    def close(self) -> None:
        """Let every encoder go of what it waits for."""
        for opened in self._encoders.values():
            opened.encoder.close()

    @property
    def depth(self) -> int:
        """Requests that wait for a batch."""
        return sum(encoder.depth for encoder in self._encoders.values())

    def health(self) -> dict[str, dict[str, Any]]:
        """What is open, by the names of the spaces that use it."""
        spaces = sorted(self._spaces.items())
        return {space: described(self._encoders[spec]) for space, spec in spaces if spec in self._encoders}
