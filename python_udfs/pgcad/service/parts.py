"""The vectors of whole parts, whether they were just read or lie in the database."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgcad.encoders.encoder import Encoder, Kind, Matrix, mean_direction
from pgcad.errors import CadError
from pgcad.geometry.brep_graph import BrepGraph, unpack_graph
from pgcad.service.desk import Desk, Payloads

Pixels = NDArray[np.uint8]
VIEWS = 10
POINTS = (2048, 6)
MAX_PARTS = 64


@dataclass(frozen=True)
class Part:
    """What a part's vectors are made of, as far as it is known. What people said of a part that nobody described is no
    more than its name.
    """

    text: str | None
    described: bool
    views: list[Pixels]
    points: Matrix | None
    """(2048, 6): mm and unit normals."""
    brep: BrepGraph | None


def announced_parts(header: dict[str, Any], files: int) -> list[dict[str, Any]]:
    """The parts that the header of `embed_parts` lists. Raises CadError 22023 for a malformed one, 54000 for many."""
    parts = header.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise CadError("22023", "parts must be a list of objects")
    if len(parts) > MAX_PARTS:
        raise CadError("54000", f"{len(parts)} parts in one request; the limit is {MAX_PARTS}", "Send fewer at a time.")
    for part in parts:
        text, views = part.get("text"), part.get("views", 0)
        if not (text is None or isinstance(text, str)) or type(views) is not int or views < 0:
            raise CadError("22023", "a part has a text or null, and a number of views")
    announced = sum(part.get("views", 0) + bool(part.get("points")) + bool(part.get("brep")) for part in parts)
    if files != announced:
        raise CadError("22023", f"the header announces {announced} payloads, and {files} came")
    return parts


async def stored_part(announced: dict[str, Any], files: Iterator[bytes], desk: Desk) -> Part:
    """One announced part, its payloads taken off `files`. Raises CadError for one that cannot be read."""
    pngs = [next(files) for _ in range(announced.get("views", 0))]
    points = next(files) if announced.get("points") else None
    brep = next(files) if announced.get("brep") else None
    takes = desk.encoder.modalities
    return Part(
        announced.get("text"),
        bool(announced.get("described", True)),
        await decoded(pngs, desk) if "image" in takes else [],
        cloud(points) if points is not None and "points" in takes else None,
        unpack_graph(brep) if brep is not None and "brep" in takes else None,
    )


async def embed_all(parts: Sequence[Part], desk: Desk) -> list[dict[str, Matrix]]:
    """The vectors of each part by name: text, image, shape, brep, fused, view 0 …, as far as the encoder makes them.

    The shape is that of the points; of an encoder without them, that of the B-rep; without either, the pictures. The
    B-rep stands under its own name where it is not the shape.
    The text of a part that nobody described is what the encoder supposes, together with its name.
    """
    takes = desk.encoder.modalities
    texts = await _encode_each("passage", [_some(part.text or None) if "text" in takes else [] for part in parts], desk)
    views = await _encode_each("image", [part.views if "image" in takes else [] for part in parts], desk)
    points = await _encode_each("points", [_some(part.points) if "points" in takes else [] for part in parts], desk)
    breps = await _encode_each("brep", [_some(part.brep) if "brep" in takes else [] for part in parts], desk)
    seen = zip(views, points, breps, strict=True)
    known = zip(parts, texts, seen, strict=True)
    texts = [text if part.described else _with_supposed(text, *seen, desk.encoder) for part, text, seen in known]
    return [_named(*vectors, desk.encoder) for vectors in zip(texts, views, points, breps, strict=True)]


def _with_supposed(texts: Matrix, views: Matrix, points: Matrix, brep: Matrix, encoder: Encoder) -> Matrix:
    """The text vectors (n, dim), and the one that the encoder supposes of the geometry, if it can."""
    if not len(views) or not len(points):
        return texts
    supposed = encoder.suppose_text(mean_direction(views), points[0], _first(brep))
    return np.vstack([texts, *_some(supposed)])


def _named(texts: Matrix, views: Matrix, points: Matrix, brep: Matrix, encoder: Encoder) -> dict[str, Matrix]:
    """The vectors of one part, from n × dim rows of each kind; n is 0 for what it lacks, else 1 but for texts and
    views.
    """
    text, drawn = (mean_direction(rows) if len(rows) else None for rows in (texts, views))
    given = {"text": text, "image": drawn, "shape": _first(points), "brep": _first(brep)}
    if all(vector is None for vector in given.values()):
        return {}
    named = {**given, "fused": encoder.fuse(**given)}
    if "points" not in encoder.modalities:
        named |= {"shape": given["brep"] if "brep" in encoder.modalities else drawn, "brep": None}
    named |= {f"view {number}": view for number, view in enumerate(views)}
    return {name: vector for name, vector in named.items() if vector is not None}


def _first(rows: Matrix) -> Matrix | None:
    return rows[0] if len(rows) else None


async def _encode_each(kind: Kind, items: Sequence[Sequence[Any]], desk: Desk) -> list[Matrix]:
    """One matrix for each list of items, encoded together."""
    together = [item for some in items for item in some]
    matrix = await desk.open.encode(kind, together) if together else np.zeros((0, desk.encoder.dim), np.float32)
    return np.split(matrix, np.cumsum([len(some) for some in items])[:-1])


def _some(item: Any) -> list[Any]:
    return [] if item is None else [item]


async def decoded(files: Payloads, desk: Desk) -> list[Pixels]:
    """The pictures (h, w, 3) in PNG and JPEG files, decoded by workers. Raises CadError."""
    answers = await desk.backend.geometry("decode_image", [({}, [data]) for data in files])
    return [np.frombuffer(pixels, np.uint8).reshape(header["shape"]) for header, [pixels] in answers]


def cloud(data: bytes) -> Matrix:
    """Points (2048, 6) from their bytes. Raises CadError 22023 for another number of them."""
    if len(data) != 4 * math.prod(POINTS):
        raise CadError("22023", f"points of {len(data):,} bytes are not float32 {POINTS}", "Load the part again.")
    return np.frombuffer(data, "<f4").reshape(POINTS)


def square_views(pixels: bytes) -> Pixels:
    """The ten square views (10, side, side, 3) that a worker drew."""
    side = math.isqrt(len(pixels) // (3 * VIEWS))
    return np.frombuffer(pixels, np.uint8).reshape(VIEWS, side, side, 3)
