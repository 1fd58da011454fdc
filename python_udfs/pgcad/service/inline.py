"""Inline mode: the same dispatcher in a database backend, for hosts that allow no second process."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pgcad import __version__
from pgcad.encoders.encoder import Encoder
from pgcad.encoders.spec import Spec
from pgcad.errors import CadError
from pgcad.service.config import models_folder
from pgcad.service.desk import DEFAULT_SPACE, Answer, Payloads, Request
from pgcad.service.dispatch import dispatch
from pgcad.service.open_encoder import InlineEncoder, described

OPEN_ENCODERS = 1
"""Besides the default one: every connection that encodes holds its own."""


class InlineBackend:
    """Everything in this process, one thing at a time."""

    def __init__(self, default: Encoder, models: Path | None = None) -> None:
        from pgcad.service.jobs import JOBS

        self.models, self.default, self._jobs = models, InlineEncoder(default), JOBS
        self.resident = None  # every connection would hold its own
        self._encoders: OrderedDict[Spec, InlineEncoder] = OrderedDict()
        self._spaces: dict[str, Spec] = {}

    async def geometry(self, job: str, requests: Sequence[Request]) -> list[Answer]:
        try:
            return [self._jobs[job](header, payloads) for header, payloads in requests]
        except MemoryError as error:
            hint = "Simplify the model, or let the service read it (pgcad.encoder = 'service')."
            raise CadError("53200", "reading this file takes more memory than this backend may have", hint) from error

    async def open(self, space: str, spec: Spec) -> InlineEncoder:
        if spec not in self._encoders:
            while len(self._encoders) >= OPEN_ENCODERS:
                self._encoders.popitem(last=False)
            self._encoders[spec] = InlineEncoder(spec.open(self.default.encoder, None))
        self._spaces[space] = spec
        return self._encoders[spec]

    def health(self) -> dict[str, Any]:
        opened = {
            name: described(self._encoders[spec]) for name, spec in self._spaces.items() if spec in self._encoders
        }
        spaces = {**opened, DEFAULT_SPACE: described(self.default)}
        return {"status": "inline", "pgcad_version": __version__, "spaces": spaces}


def inline(op: str, header: dict[str, Any], payloads: Payloads) -> Answer:
    """Carry out one request in this process (`pgcad.encoder = 'inline'`), for hosts that allow no second process.

    Same results, none of the isolation: the backend pays for importing torch (seconds, some 350 MB), a crash in a
    geometry library restarts the whole cluster, no limit on memory or time holds, and a cancel waits for the end of
    the work in hand. Raises CadError.
    """
    running = dispatch(op, header, payloads, _inline_backend())
    try:  # an inline backend never suspends, so no event loop is needed, nor its signal handlers
        running.send(None)
    except StopIteration as finished:
        answer: Answer = finished.value
        return answer
    raise RuntimeError("an inline operation must not suspend")


@functools.cache
def _inline_backend() -> InlineBackend:
    from pgcad.encoders.space import CadSpace

    return InlineBackend(CadSpace.load(), models_folder())
