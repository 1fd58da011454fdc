"""How well stored parts agree with the outline in a picture: all that are like it roughly, then the best of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgcad.errors import CadError
from pgcad.geometry.outlines import SIDE
from pgcad.geometry.silhouettes import CAMERAS, DIRECTIONS
from pgcad.service.desk import Answer, Desk, Payloads
from pgcad.service.parts import MAX_PARTS, cloud

MAX_COMPARED = 1000
COMPARED_AT_ONCE, REFINED_AT_ONCE = 100, 10
"""Comparing takes some 0.2 ms a part and refining 3 ms: so many that two workers share in those of a search."""


async def overlap(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    """Payloads: a picture, then the silhouettes of parts. Where its background is not plain, there are no fits."""
    if not 1 <= len(payloads) <= 1 + MAX_COMPARED:
        raise CadError("22023", f"overlap takes a picture and the silhouettes of up to {MAX_COMPARED} parts")
    picture, *parts = payloads
    if any(len(part) != 4 * DIRECTIONS * SIDE for part in parts):
        raise CadError("22023", f"silhouettes are uint32 ({DIRECTIONS}, {SIDE})", "Load the parts again.")
    outline = await _outline(picture, desk)
    if outline is None:
        return {"fits": None, "cameras": None}, []
    shares = [parts[start : start + COMPARED_AT_ONCE] for start in range(0, len(parts), COMPARED_AT_ONCE)]
    answers = await desk.backend.geometry("overlaps", [({}, [outline, *share]) for share in shares])
    return {name: [one for answer, _ in answers for one in answer[name]] for name in ("fits", "cameras")}, []


async def refine_overlap(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    """Payloads: a picture, then the points of parts; the header has the cameras that `overlap` found for them."""
    if not 1 <= len(payloads) <= 1 + MAX_PARTS:
        raise CadError("22023", f"refine_overlap takes a picture and the points of up to {MAX_PARTS} parts")
    picture, *parts = payloads
    cameras = _checked(header.get("cameras"), len(parts))
    for points in parts:
        cloud(points)  # raises for what is none
    outline = await _outline(picture, desk)
    if outline is None:
        return {"fits": None}, []
    requests = []
    for start in range(0, len(parts), REFINED_AT_ONCE):
        share = slice(start, start + REFINED_AT_ONCE)
        requests.append(({"cameras": cameras[share]}, [outline, *parts[share]]))
    answers = await desk.backend.geometry("refined_overlaps", requests)
    return {"fits": [one for answer, _ in answers for one in answer["fits"]]}, []


async def _outline(picture: bytes, desk: Desk) -> bytes | None:
    """The packed outline in a picture, kept for a while: a search needs it twice."""
    cache = desk.open.cache
    key = cache.key("outline", picture)
    kept = cache.get(key)
    if kept is None:
        [(_, found)] = await desk.backend.geometry("outline", [({}, [picture])])
        kept = np.frombuffer(b"".join(found), np.uint8)
        cache.put(key, kept)
    return kept.tobytes() or None


def _checked(cameras: Any, parts: int) -> list[list[int]]:
    """Raises CadError 22023 where they are not the numbers of some cameras for each part."""
    known = isinstance(cameras, list) and len(cameras) == parts
    if not known or not all(isinstance(some, list) and some and all(map(_is_camera, some)) for some in cameras):
        raise CadError("22023", "cameras must list for each part those that overlap found")
    listed: list[list[int]] = cameras
    return listed


def _is_camera(number: Any) -> bool:
    return type(number) is int and 0 <= number < CAMERAS
