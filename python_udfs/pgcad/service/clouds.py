"""What somebody searches with, as it is read: the points are kept for a while, because a search needs them twice and
reads its file once.
"""

from __future__ import annotations

from collections.abc import Sequence

from pgcad.encoders.encoder import Matrix
from pgcad.geometry.brep_graph import BrepGraph, unpack_graph
from pgcad.service.desk import Desk, Request
from pgcad.service.parts import cloud


async def asked_clouds(asked: Sequence[tuple[bytes, str | None]], desk: Desk) -> list[Matrix]:
    """Points (2048, 6) of files of a format, and of clouds (float32, n x 3) where that is none."""
    cache = desk.open.cache
    keys = [_key(data, fmt, desk) for data, fmt in asked]
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


async def asked_brep(data: bytes, fmt: str, desk: Desk) -> BrepGraph:
    """The exact faces of a file; its points are kept along with them. Raises CadError 22023 where it has none."""
    [(_, [graph, points])] = await desk.backend.geometry("shape_brep", [({"format": fmt}, [data])])
    desk.open.cache.put(_key(data, fmt, desk), cloud(points))
    return unpack_graph(graph)


def _key(data: bytes, fmt: str | None, desk: Desk) -> bytes:
    return desk.open.cache.key("cloud", f"{fmt}\0".encode() + data)
