"""Spaces whose vectors are resident in the service, which a database has sent it: what the `resident_…` operations do.

The service only proposes parts: the database compares them itself, as the asking transaction sees them. For that to
miss nothing, the parts of every change are remembered: whoever does not see a change in the database yet gets the parts
that it touched along with those proposed.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pgcad.errors import CadError
from pgcad.service.batching import Batcher
from pgcad.service.desk import Answer, Payloads

if TYPE_CHECKING:  # it imports torch
    from pgcad.service.resident_vectors import Ids, ResidentVectors

QUESTIONS_AT_ONCE = 256
REMEMBERED_PARTS = 1 << 20
"""Of the latest changes, 16 MiB."""
LOWER_THAN_ANY = -2.0
"""Cosine: JSON has no infinity."""
T = TypeVar("T")


@dataclass
class Resident:
    """One space of one database, as it was loaded once, with the changes since."""

    database: str
    space: str
    vectors: ResidentVectors
    batcher: Batcher
    complete: bool = False
    changes: int = 0
    remembered: deque[tuple[int, Ids]] = field(default_factory=deque)
    forgotten: int = 0
    """Number of the last change whose parts are not remembered."""

    def touched(self, since: int) -> Ids:
        """The parts of all changes after that number. Raises CadError 55000 where it is too long ago."""
        if since < self.forgotten:
            raise CadError(
                "55000",
                f"the resident vectors of space {self.space} have changed too much since this transaction began",
                "Begin another transaction, or leave the strategy to auto.",
            )
        parts = [ids for number, ids in self.remembered if number > since]
        return np.unique(np.concatenate([np.empty(0, "S16"), *parts]))

    def remember(self, ids: Ids) -> None:
        """Count a change of these parts, before it is made: who asks meanwhile hears of them."""
        self.changes += 1
        self.remembered.append((self.changes, ids))
        while len(self.remembered) > 1 and sum(len(parts) for _, parts in self.remembered) > REMEMBERED_PARTS:
            self.forgotten = self.remembered.popleft()[0]


class ResidentSpaces:
    """What is resident, by generation: a UUID that the database makes for every loading."""

    def __init__(self, limit_bytes: int, device: str, queue_limit: int) -> None:
        self._limit_bytes, self._device, self._queue_limit = limit_bytes, device, queue_limit
        self._thread = ThreadPoolExecutor(1, "resident")  # changes and questions take turns
        self._spaces: dict[str, Resident] = {}

    def begin(self, generation: str, database: str, space: str, dim: int, parts: int) -> None:
        """Make room for the vectors of a space, in place of those it had. Raises CadError 53400 over the limit."""
        from pgcad.service.resident_vectors import ResidentVectors

        for older in [key for key, held in self._spaces.items() if (held.database, held.space) == (database, space)]:
            self.drop(older)
        vectors = ResidentVectors(dim, self._device)
        self._check_room(space, vectors, parts)
        batcher = Batcher(
            f"the resident vectors of space {space}",
            lambda asked: _nearest(vectors, asked),
            self._thread,
            QUESTIONS_AT_ONCE,
            self._queue_limit,
        )
        self._spaces[generation] = Resident(database, space, vectors, batcher)

    def get(self, generation: Any, complete: bool = True) -> Resident:
        """Raises CadError 55000 where there is none."""
        held = self._spaces.get(str(generation))
        if held is None or held.complete is not complete:
            raise CadError(
                "55000",
                "the encoder service does not hold the vectors that the database believes resident",
                "It was restarted, or loaded anew: call cad.load_resident for the space.",
            )
        return held

    async def append(self, held: Resident, ids: Ids, vectors: NDArray[np.float16]) -> None:
        """Take in more parts. Raises CadError 53400 over the limit, 53200 where the device is full."""

        def append() -> None:
            self._check_room(held.space, held.vectors, len(ids))
            held.vectors.append(ids, vectors)

        await self.run(append)

    async def change(self, held: Resident, ids: Ids, vectors: NDArray[np.float16], gone: Ids) -> None:
        """Make changes, which count as one. Raises as `append`."""
        self._check_room(held.space, held.vectors, len(ids))
        held.remember(np.concatenate([ids, gone]))
        await self.run(held.vectors.change, ids, vectors, gone)

    def drop(self, generation: str) -> None:
        """Let go of a space, if it is here."""
        self._spaces.pop(generation, None)

    def run(self, work: Callable[..., T], *arguments: Any) -> Awaitable[T]:
        """Do it in the thread that questions are answered in."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    @property
    def depth(self) -> int:
        """Questions that wait."""
        return sum(held.batcher.depth for held in self._spaces.values())

    def health(self) -> dict[str, Any]:
        """What is held, where, and how much there may be."""
        spaces = [
            {
                "database": held.database,
                "space": held.space,
                "generation": generation,
                "complete": held.complete,
                "parts": held.vectors.parts,
                "changes": held.changes,
                "bytes": held.vectors.held_bytes,
            }
            for generation, held in self._spaces.items()
        ]
        return {"device": self._device, "limit_bytes": self._limit_bytes, "spaces": spaces}

    def _check_room(self, space: str, vectors: ResidentVectors, more: int) -> None:
        others = sum(held.vectors.held_bytes for held in self._spaces.values() if held.vectors is not vectors)
        needed = others + vectors.bytes_with(more)
        if needed > self._limit_bytes:
            raise CadError(
                "53400",
                f"the vectors of space {space} do not fit into the memory for resident vectors",
                f"Start pgcad serve with --resident-memory-mb {math.ceil(needed / 2**20)} or more.",
                f"{needed:,} bytes are needed, {self._limit_bytes:,} allowed",
            )


async def resident_begin(header: dict[str, Any], payloads: Payloads, spaces: ResidentSpaces) -> Answer:
    """A space of a database is going to be sent."""
    generation, database, space = (str(header[name]) for name in ("generation", "database", "space"))
    spaces.begin(generation, database, space, int(header["dim"]), int(header["parts"]))
    return {}, []


async def resident_append(header: dict[str, Any], payloads: Payloads, spaces: ResidentSpaces) -> Answer:
    """Payloads: parts, and their vectors."""
    held = spaces.get(header.get("generation"), complete=False)
    ids, vectors = payloads
    await spaces.append(held, _ids(ids), _halves(vectors, len(ids) // 16, held))
    return {}, []


async def resident_finish(header: dict[str, Any], payloads: Payloads, spaces: ResidentSpaces) -> Answer:
    """All parts have been sent: answers how many they are."""
    held = spaces.get(header.get("generation"), complete=False)
    await spaces.run(held.vectors.index)
    held.complete = True
    return {"parts": held.vectors.parts}, []


async def resident_nearest(header: dict[str, Any], payloads: Payloads, spaces: ResidentSpaces) -> Answer:
    """Payload: questions, float32 LE n x dim. Payloads out: the parts found, as many for each; those touched."""
    held = spaces.get(header.get("generation"))
    questions = np.frombuffer(payloads[0], "<f4").reshape(-1, held.vectors.dim)
    found = await held.batcher.encode([(question, int(header["count"])) for question in questions])
    touched = held.touched(int(header["since"]))  # after the search: rather too many than too few
    bounds = [max(one.bound, LOWER_THAN_ANY) for one in found]
    return {"bounds": bounds}, [b"".join(one.parts.tobytes() for one in found), touched.tobytes()]


async def resident_touched(header: dict[str, Any], payloads: Payloads, spaces: ResidentSpaces) -> Answer:
    """Which parts were touched since a change, and how many changes there were."""
    held = spaces.get(header.get("generation"))
    return {"changes": held.changes}, [held.touched(int(header["since"])).tobytes()]


async def resident_change(header: dict[str, Any], payloads: Payloads, spaces: ResidentSpaces) -> Answer:
    """Payloads: parts, their vectors, and parts that have none any more."""
    held = spaces.get(header.get("generation"))
    if held.changes != header.get("after"):
        raise CadError("55006", f"others are changing the resident vectors of space {held.space}", "Try again.")
    ids, vectors, gone = payloads
    await spaces.change(held, _ids(ids), _halves(vectors, len(ids) // 16, held), _ids(gone))
    return {"changes": held.changes, "parts": held.vectors.parts}, []


async def resident_drop(header: dict[str, Any], payloads: Payloads, spaces: ResidentSpaces) -> Answer:
    """Let go of a space; it need not be there any more."""
    spaces.drop(str(header.get("generation")))
    return {}, []


Operation = Callable[[dict[str, Any], Payloads, ResidentSpaces], Coroutine[Any, Any, Answer]]
RESIDENT_OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        *(resident_begin, resident_append, resident_finish, resident_drop),
        *(resident_nearest, resident_touched, resident_change),
    )
}


def _nearest(vectors: ResidentVectors, asked: list[tuple[NDArray[np.float32], int]]) -> NDArray[Any]:
    """One Nearest for each question and count, of whichever requests, in one product."""
    answers = np.empty(len(asked), object)
    answers[:] = vectors.nearest(np.stack([question for question, _ in asked]), [count for _, count in asked])
    return answers


def _ids(data: bytes) -> Ids:
    return np.frombuffer(data, "S16")


def _halves(data: bytes, rows: int, held: Resident) -> NDArray[np.float16]:
    """Numbers as PostgreSQL sends them, the high byte first."""
    return np.frombuffer(data, ">f2").reshape(rows, held.vectors.dim).astype(np.float16)
