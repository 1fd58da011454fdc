"""The points of what somebody searches with, kept for a while: a search needs them twice and reads its file once."""

from __future__ import annotations

from collections.abc import Sequence

from pgcad.encoders.encoder import Matrix
from pgcad.service.desk import Desk, Request
from pgcad.service.parts import cloud


async def asked_clouds(asked: Sequence[tuple[bytes, str | None]], desk: Desk) -> list[Matrix]:
    """Points (2048, 6) of files of a format, and of clouds (float32, n x 3) where that is none."""
    cache = desk.open.cache
    keys = [cache.key("cloud", f"{fmt}\0".encode() + data) for data, fmt in asked]
    found = {key: kept for key in keys if (kept := cache.get(key)) is not None}
    missing = {key: one for key, one in zip(keys, asked, strict=True) if key not in found}
    for job, files in (("shape_points", True), ("cloud_points", False)):
        requests: dict[bytes, Request] = {
            key: ({"format": fmt} if files else {}, [data])
            for key, (data, fmt) in missing.items()
            if (fmt is not None) == files
        }
        answers = await desk.backend.geometry(job, list(requests.values()))
        for key, (_, [points]) in zip(requests, answers, strict=True):
            found[key] = cloud(points)
            cache.put(key, found[key])
    return [found[key] for key in keys]
