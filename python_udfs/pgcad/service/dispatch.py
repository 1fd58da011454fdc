"""What each operation of the protocol does. Where geometry runs and how encoding is batched is the backend's affair."""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pgcad.errors import CadError
from pgcad.geometry.brep_graph import BrepGraph, unpack_graph
from pgcad.geometry.limits import check_file_size
from pgcad.service.batching import Matrix, VectorCache

Payloads = list[bytes]
Answer = tuple[dict[str, Any], Payloads]
Request = tuple[dict[str, Any], Payloads]

VIEWS = 10
POINTS = (2048, 6)
CHUNK = 32


class Space(Protocol):
    """An embedding space, `pgcad.encoders.space.CadSpace` in production."""

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def version(self) -> str: ...
    def embed_text(self, texts: Sequence[str], role: str = "query") -> Matrix: ...
    def embed_image(self, images: Sequence[NDArray[np.uint8]]) -> Matrix: ...
    def embed_points(self, clouds: Matrix) -> Matrix: ...
    def embed_brep(self, graphs: Sequence[BrepGraph]) -> Matrix: ...
    def fuse(
        self,
        text: Matrix | None = None,
        image: Matrix | None = None,
        shape: Matrix | None = None,
        brep: Matrix | None = None,
    ) -> Matrix: ...


class Backend(Protocol):
    """Runs geometry jobs (pgcad.service.jobs) and encoders for the dispatcher."""

    space: Space
    cache: VectorCache

    async def geometry(self, job: str, requests: Sequence[Request]) -> list[Answer]:
        """Run one job per request, in any order, answers in the order of the requests."""
        ...

    async def encode(self, kind: str, items: Sequence[Any]) -> Matrix:
        """Embed `items`, see `encode`."""
        ...

    def health(self) -> dict[str, Any]:
        """The header of the answer to `health`."""
        ...


def encode(space: Space, kind: str, items: Sequence[Any]) -> Matrix:
    """Embed items of a kind: `query` and `passage` texts, `image` pixels, `points` (2048, 6), `brep` graphs."""
    if kind == "image":
        return space.embed_image(items)
    if kind == "points":
        return space.embed_points(np.stack(items))
    if kind == "brep":
        return space.embed_brep(items)
    return space.embed_text(items, role=kind)


async def dispatch(op: str, header: dict[str, Any], payloads: Payloads, backend: Backend) -> Answer:
    """Carry out one request. Raises CadError with a SQLSTATE of docs/design.md, "Protocol, version 1"."""
    if op == "health":
        return backend.health(), []
    operation = OPERATIONS.get(op)
    if operation is None:
        raise CadError(
            "0A000", f"unknown operation {op!r}", f"This service knows: {', '.join(['health', *OPERATIONS])}."
        )
    space = header.get("space", backend.space.name)
    if space != backend.space.name:
        raise CadError("22023", f"this service has no space {space!r}", f"Its space is {backend.space.name!r}.")
    for payload in payloads:  # before a worker has to take it in
        check_file_size(len(payload))
    return await operation(header, payloads, backend)


async def embed_text(header: dict[str, Any], payloads: Payloads, backend: Backend) -> Answer:
    texts, role = header.get("texts"), header.get("role", "query")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise CadError("22023", "texts must be a list of strings")
    if role not in ("query", "passage"):
        raise CadError("22023", f"unknown role {role!r}", "Use query or passage.")

    async def compute(missing: list[int]) -> Matrix:
        return await backend.encode(role, [texts[index] for index in missing])

    return _matrix_answer(
        await _cached(role, [text.encode("utf-8", "replace") for text in texts], compute, backend), backend
    )


async def embed_image(header: dict[str, Any], payloads: Payloads, backend: Backend) -> Answer:
    async def compute(missing: list[int]) -> Matrix:
        return await backend.encode("image", await _decode([payloads[index] for index in missing], backend))

    return _matrix_answer(await _cached("image", payloads, compute, backend), backend)


async def embed_points(header: dict[str, Any], payloads: Payloads, backend: Backend) -> Answer:
    async def compute(missing: list[int]) -> Matrix:
        answers = await backend.geometry("cloud_points", [({}, [payloads[index]]) for index in missing])
        return await backend.encode("points", [_points(clouds) for _, [clouds] in answers])

    return _matrix_answer(await _cached("points", payloads, compute, backend), backend)


async def embed_shape(header: dict[str, Any], payloads: Payloads, backend: Backend) -> Answer:
    formats = header.get("formats")
    if not isinstance(formats, list) or len(formats) != len(payloads):
        raise CadError("22023", "formats must name one format per file")
    return _matrix_answer(await _shapes(payloads, formats, backend), backend)


async def embed_multi(header: dict[str, Any], payloads: Payloads, backend: Backend) -> Answer:
    """The vector of each part of a query, and the fused one last."""
    files = iter(payloads)
    vectors: dict[str, Matrix] = {}
    try:
        if header.get("text") is not None:
            answer = await embed_text({"texts": [header["text"]]}, [], backend)
            vectors["text"] = _rows(answer, backend)[0]
        if header.get("image"):
            vectors["image"] = _rows(await embed_image({}, [next(files)], backend), backend)[0]
        if header.get("shape"):
            vectors["shape"] = (await _shapes([next(files)], [header.get("format")], backend))[0]
    except StopIteration:
        raise CadError("22023", "fewer files than the header announces") from None
    if not vectors:
        raise CadError("22023", "nothing to search for", "Give at least one of text, image and file.")
    rows = np.stack([*vectors.values(), backend.space.fuse(**vectors)])
    header_out = {"version": backend.space.version, "dim": backend.space.dim, "rows": [*vectors, "fused"]}
    return header_out, [_bytes(rows)]


async def analyse(header: dict[str, Any], payloads: Payloads, backend: Backend) -> Answer:
    """Read one part and embed its text, ten views, shape and B-rep, which counts in the fused vector alone."""
    from pgcad.encoders.text import passage

    if len(payloads) != 1 or not isinstance(header.get("format"), str):
        raise CadError("22023", "analyse takes one file and its format")
    metadata = {} if header.get("metadata") is None else header["metadata"]
    if not isinstance(metadata, dict):
        raise CadError("22023", "metadata must be an object")
    [(answer, parts)] = await backend.geometry(
        "analyse", [({"format": header["format"], "metadata": metadata}, payloads)]
    )
    report, (mesh, points, thumbnail, *view_pngs, pixels, graph) = answer["report"], parts
    views = np.frombuffer(pixels, np.uint8).reshape(VIEWS, *_square(len(pixels) // (3 * VIEWS)), 3)
    [text] = await backend.encode("passage", [passage(report)])
    [shape] = await backend.encode("points", [_points(points)])
    view_vectors = await backend.encode("image", list(views))
    image = _unit(view_vectors.mean(axis=0))
    brep = (await backend.encode("brep", [unpack_graph(graph)]))[0] if graph else None
    fused = backend.space.fuse(text=text, image=image, shape=shape, brep=brep)
    rows = np.stack([text, image, shape, fused, *view_vectors])
    header_out = {"version": backend.space.version, "dim": backend.space.dim, "report": report}
    return header_out, [mesh, points, thumbnail, *view_pngs, _bytes(rows)]


OPERATIONS: dict[str, Callable[[dict[str, Any], Payloads, Backend], Coroutine[Any, Any, Answer]]] = {
    operation.__name__: operation
    for operation in (embed_text, embed_image, embed_points, embed_shape, embed_multi, analyse)
}


async def _cached(
    kind: str, contents: Sequence[bytes], compute: Callable[[list[int]], Awaitable[Matrix]], backend: Backend
) -> Matrix:
    """One row per content; `compute` gets the indices of those that the cache does not have, each content once.

    It gets CHUNK at a time, so that a request of a thousand pictures never has them all decoded at once.
    """
    keys = [VectorCache.key(kind, content) for content in contents]
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    known = {key: backend.cache.get(key) for key in first}
    missing = [index for key, index in first.items() if known[key] is None]
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        for index, vector in zip(chunk, await compute(chunk), strict=True):
            known[keys[index]] = vector
            backend.cache.put(keys[index], vector)
    return np.array([known[key] for key in keys], dtype=np.float32).reshape(-1, backend.space.dim)


async def _shapes(files: Payloads, formats: Sequence[Any], backend: Backend) -> Matrix:
    if not all(isinstance(fmt, str) for fmt in formats):
        raise CadError(
            "22023", "the format of a file must be a string", "Use step, stl, obj, ply, glb, 3mf, off, xyz or npy."
        )

    async def compute(missing: list[int]) -> Matrix:
        requests = [({"format": formats[index]}, [files[index]]) for index in missing]
        return await backend.encode(
            "points", [_points(data) for _, [data] in await backend.geometry("shape_points", requests)]
        )

    labelled = [f"{fmt}\0".encode() + data for fmt, data in zip(formats, files, strict=True)]
    return await _cached("shape", labelled, compute, backend)


async def _decode(files: Payloads, backend: Backend) -> list[NDArray[np.uint8]]:
    answers = await backend.geometry("decode_image", [({}, [data]) for data in files])
    return [np.frombuffer(pixels, np.uint8).reshape(header["shape"]) for header, [pixels] in answers]


def _points(data: bytes) -> Matrix:
    return np.frombuffer(data, "<f4").reshape(POINTS)


def _square(pixels: int) -> tuple[int, int]:
    side = math.isqrt(pixels)
    return side, side


def _unit(vector: Matrix) -> Matrix:
    normalised: Matrix = vector / np.linalg.norm(vector)
    return normalised


def _bytes(matrix: Matrix) -> bytes:
    return np.ascontiguousarray(matrix, dtype="<f4").tobytes()


def _matrix_answer(matrix: Matrix, backend: Backend) -> Answer:
    header = {"version": backend.space.version, "n": len(matrix), "dim": backend.space.dim}
    return header, [_bytes(matrix)]


def _rows(answer: Answer, backend: Backend) -> Matrix:
    return np.frombuffer(answer[1][0], "<f4").reshape(-1, backend.space.dim).copy()


class InlineBackend:
    """Everything in this process, one thing at a time."""

    def __init__(self, space: Space) -> None:
        from pgcad.service.jobs import JOBS

        self.space, self.cache, self._jobs = space, VectorCache(), JOBS

    async def geometry(self, job: str, requests: Sequence[Request]) -> list[Answer]:
        try:
            return [self._jobs[job](header, payloads) for header, payloads in requests]
        except MemoryError as error:
            hint = "Simplify the model, or let the service read it (pgcad.encoder = 'service')."
            raise CadError("53200", "reading this file takes more memory than this backend may have", hint) from error

    async def encode(self, kind: str, items: Sequence[Any]) -> Matrix:
        return encode(self.space, kind, items)

    def health(self) -> dict[str, Any]:
        from pgcad import __version__

        space = {"version": self.space.version, "dim": self.space.dim}
        return {"status": "inline", "pgcad_version": __version__, "spaces": {self.space.name: space}}


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

    return InlineBackend(CadSpace.load())
