"""How well stored parts fit what somebody searches with: a second look at the first hits."""

from __future__ import annotations

from typing import Any

from pgcad.errors import CadError
from pgcad.service.clouds import asked_clouds
from pgcad.service.desk import Answer, Desk, Payloads
from pgcad.service.parts import MAX_PARTS, cloud

PARTS_AT_ONCE = 5
"""A part takes some 15 ms: so many that two workers share in the ten of a search."""


async def fit(header: dict[str, Any], payloads: Payloads, desk: Desk) -> Answer:
    """Payloads: a file of the header's format, or a cloud where it has none; then the points of the parts."""
    fmt = header.get("format")
    if not (fmt is None or isinstance(fmt, str)) or not 1 <= len(payloads) <= 1 + MAX_PARTS:
        raise CadError(
            "22023", f"fit takes a file and its format, or a cloud, and the points of up to {MAX_PARTS} parts"
        )
    asked, *parts = payloads
    for points in parts:
        cloud(points)  # raises for what is none
    [scan] = await asked_clouds([(asked, fmt)], desk)
    shares = [parts[start : start + PARTS_AT_ONCE] for start in range(0, len(parts), PARTS_AT_ONCE)]
    answers = await desk.backend.geometry("fits", [({}, [scan.tobytes(), *share]) for share in shares])
    return {"fits": [one for answer, _ in answers for one in answer["fits"]]}, []
