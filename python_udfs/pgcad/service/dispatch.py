"""What each operation of the protocol does. Where geometry runs and how encoding is batched is the backend's affair."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import numpy as np

from pgcad.encoders.encoder import Matrix, mean_direction
from pgcad.errors import CadError
from pgcad.geometry.brep_graph import unpack_graph
from pgcad.geometry.formats import STEP, format_name
from pgcad.geometry.limits import check_file_size
from pgcad.service.clouds import asked_brep, asked_clouds
from pgcad.service.desk import DEFAULT_SPACE, Answer, Backend, Desk, Payloads, Request, desk_for
from pgcad.service.fitting import fit
from pgcad.service.overlapping import overlap, refine_overlap
from pgcad.service.parts import Part, announced_parts, cloud, decoded, embed_all, square_views, stored_part
from pgcad.service.quantizing import encode_vectors, train_codebook
from pgcad.service.resident import RESIDENT_OPERATIONS
from pgcad.service.weighing import learn_weights

CHUNK = 32
PARTS_AT_ONCE = 4
"""Their forty views take a second: for so long a query may have to wait."""


async def dispatch(op: str, header: dict[str, Any], payloads: Payloads, backend: Backend) -> Answer:
    """Carry out one request. Raises CadError with a SQLSTATE of docs/design.md, "Protocol, version 1"."""
    if op == "health":
        return backend.health(), []
    if op in RESIDENT_OPERATIONS:
        if backend.resident is None:
            hint = "Start `pgcad serve` and set pgcad.encoder to service, or leave the strategy to auto."
            raise CadError("0A000", "vectors can be resident in the encoder service only, not inline", hint)
        return await RESIDENT_OPERATIONS[op](header, payloads, backend.resident)
    operation = OPERATIONS.get(op)
    if operation is None:
        known = ", ".join(["health", *OPERATIONS, *RESIDENT_OPERATIONS])
        raise CadError("0A000", f"unknown operation {op!r}", f"This service knows: {known}.")
    for payload in payloads:  # before a worker has to take it in
        check_file_size(len(payload))
    return await operation(header, payloads, await desk_for(header, backend))


async def embed_text(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    texts, role = header.get("texts"), header.get("role", "query")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise CadError("22023", "texts must be a list of strings")
    if role not in ("query", "passage"):
        raise CadError("22023", f"unknown role {role!r}", "Use query or passage.")
    desk.need("text", "texts")

    async def compute(missing: list[int]) -> Matrix:
        return await desk.open.encode(role, [texts[index] for index in missing])

    return _matrix_answer(await _cached(role, [text.encode("utf-8", "replace") for text in texts], compute, desk), desk)


async def embed_image(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    desk.need("image", "pictures")

    async def compute(missing: list[int]) -> Matrix:
        return await desk.open.encode("image", await decoded([payloads[index] for index in missing], desk))

    return _matrix_answer(await _cached("image", payloads, compute, desk), desk)


async def embed_points(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    desk.need("points", "point clouds")

    async def compute(missing: list[int]) -> Matrix:
        return await desk.open.encode(
            "points", await asked_clouds([(payloads[index], None) for index in missing], desk)
        )

    return _matrix_answer(await _cached("points", payloads, compute, desk), desk)


async def embed_shape(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    formats = header.get("formats")
    if not isinstance(formats, list) or len(formats) != len(payloads):
        raise CadError("22023", "formats must name one format per file")
    return _matrix_answer(await _shapes(payloads, formats, desk), desk)


async def embed_multi(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    """The vector of each part of a query, and the fused one last."""
    files = iter(payloads)
    vectors: dict[str, Matrix] = {}
    try:
        if header.get("text") is not None:
            answer = await embed_text({"texts": [header["text"]]}, [], desk)
            vectors["text"] = _rows(answer, desk)[0]
        if header.get("image"):
            vectors["image"] = _rows(await embed_image({}, [next(files)], desk), desk)[0]
        if header.get("shape"):
            vectors |= await _file(next(files), header.get("format"), desk)
    except StopIteration:
        raise CadError("22023", "fewer files than the header announces") from None
    if not vectors:
        raise CadError("22023", "nothing to search for", "Give at least one of text, image and file.")
    rows = np.stack([*vectors.values(), desk.encoder.fuse(**vectors)])
    header_out = {"version": desk.encoder.version, "dim": desk.encoder.dim, "rows": [*vectors, "fused"]}
    return header_out, [_bytes(rows)]


async def embed_parts(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    """The vectors of parts that were read before, from what is kept of them: text, views, points and B-rep."""
    parts, files = announced_parts(header, len(payloads)), iter(payloads)
    made: list[dict[str, Matrix]] = []
    for start in range(0, len(parts), PARTS_AT_ONCE):
        some = parts[start : start + PARTS_AT_ONCE]
        made += await embed_all([await stored_part(one, files, desk) for one in some], desk)
    rows = [vector for vectors in made for vector in vectors.values()]
    header_out = {"version": desk.encoder.version, "dim": desk.encoder.dim, "rows": [list(vectors) for vectors in made]}
    return header_out, [b"".join(map(_bytes, rows))]


async def analyse(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    """Read one part and embed its text, ten views, shape and B-rep."""
    from pgcad.encoders.text import passage

    if desk.open is not desk.backend.default:
        raise CadError("0A000", f"parts are read for the space {DEFAULT_SPACE!r}", "Then call cad.reembed(space).")
    if len(payloads) != 1 or not isinstance(header.get("format"), str):
        raise CadError("22023", "analyse takes one file and its format")
    metadata = {} if header.get("metadata") is None else header["metadata"]
    if not isinstance(metadata, dict):
        raise CadError("22023", "metadata must be an object")
    [(answer, parts)] = await desk.backend.geometry(
        "analyse", [({"format": header["format"], "metadata": metadata}, payloads)]
    )
    report, (mesh, points, *pictures, pixels, graph) = answer["report"], parts
    described, brep = not report["description_generated"], unpack_graph(graph) if graph else None
    part = Part(passage(report), described, list(square_views(pixels)), cloud(points), brep)
    [vectors] = await embed_all([part], desk)
    nothing = np.zeros(desk.encoder.dim, np.float32)
    of_part = [vectors.pop(name, nothing) for name in ("text", "image", "shape", "brep", "fused")]
    header_out = {"version": desk.encoder.version, "dim": desk.encoder.dim, "report": report}
    return header_out, [mesh, points, *pictures, _bytes(np.stack([*of_part, *vectors.values()])), graph]


OPERATIONS: dict[str, Callable[[dict[str, Any], Payloads, Desk], Coroutine[Any, Any, Answer]]] = {
    operation.__name__: operation
    for operation in (
        *(embed_text, embed_image, embed_points, embed_shape, embed_multi, embed_parts, analyse),
        *(fit, overlap, refine_overlap),
        *(learn_weights, train_codebook, encode_vectors),
    )
}


async def _cached(
    kind: str, contents: Sequence[bytes], compute: Callable[[list[int]], Awaitable[Matrix]], desk: Desk
) -> Matrix:
    """One row per content; `compute` gets the indices of those that the cache does not have, each content once.

    It gets CHUNK at a time, so that a request of a thousand pictures never has them all decoded at once.
    """
    cache = desk.open.cache
    keys = [cache.key(kind, content) for content in contents]
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    known = {key: cache.get(key) for key in first}
    missing = [index for key, index in first.items() if known[key] is None]
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        for index, vector in zip(chunk, await compute(chunk), strict=True):
            known[keys[index]] = vector
            cache.put(keys[index], vector)
    return np.array([known[key] for key in keys], dtype=np.float32).reshape(-1, desk.encoder.dim)


async def _file(data: bytes, fmt: Any, desk: Desk) -> dict[str, Matrix]:
    """The vectors of a file: of its shape, and of its exact faces where it has them and the encoder reads both."""
    faces: dict[str, Matrix] = {}

    async def compute(missing: list[int]) -> Matrix:
        return await desk.open.encode("brep", [await asked_brep(data, fmt, desk)])

    if {"points", "brep"} <= desk.encoder.modalities and isinstance(fmt, str) and format_name(fmt) in STEP:
        faces["brep"] = (await _cached("brep", [data], compute, desk))[0]
    return {"shape": (await _shapes([data], [fmt], desk))[0], **faces}


async def _shapes(files: Payloads, formats: Sequence[Any], desk: Desk) -> Matrix:
    if not all(isinstance(fmt, str) for fmt in formats):
        raise CadError(
            "22023", "the format of a file must be a string", "Use step, stl, obj, ply, glb, 3mf, off, xyz or npy."
        )
    embed = _shape_embedding(desk)

    async def compute(missing: list[int]) -> Matrix:
        return await embed([({"format": formats[index]}, [files[index]]) for index in missing])

    labelled = [f"{fmt}\0".encode() + data for fmt, data in zip(formats, files, strict=True)]
    return await _cached("shape", labelled, compute, desk)


def _shape_embedding(desk: Desk) -> Callable[[list[Request]], Awaitable[Matrix]]:
    """How the encoder knows a file: by points on it, by its B-rep, or by the ten pictures of it."""

    async def by_points(requests: list[Request]) -> Matrix:
        asked = [(data, header["format"]) for header, [data] in requests]
        return await desk.open.encode("points", await asked_clouds(asked, desk))

    async def by_brep(requests: list[Request]) -> Matrix:
        answers = await desk.backend.geometry("shape_brep", requests)
        return await desk.open.encode("brep", [unpack_graph(graph) for _, [graph, _] in answers])

    async def by_views(requests: list[Request]) -> Matrix:
        vectors = []
        for start in range(0, len(requests), PARTS_AT_ONCE):
            for _, [pixels] in await desk.backend.geometry("shape_views", requests[start : start + PARTS_AT_ONCE]):
                vectors.append(mean_direction(await desk.open.encode("image", list(square_views(pixels)))))
        return np.stack(vectors)

    if "points" in desk.encoder.modalities:
        return by_points
    if "brep" in desk.encoder.modalities:
        return by_brep
    desk.need("image", "shapes")
    return by_views


def _bytes(matrix: Matrix) -> bytes:
    return np.ascontiguousarray(matrix, dtype="<f4").tobytes()


def _matrix_answer(matrix: Matrix, desk: Desk) -> Answer:
    header = {"version": desk.encoder.version, "n": len(matrix), "dim": desk.encoder.dim}
    return header, [_bytes(matrix)]


def _rows(answer: Answer, desk: Desk) -> Matrix:
    return np.frombuffer(answer[1][0], "<f4").reshape(-1, desk.encoder.dim).copy()
