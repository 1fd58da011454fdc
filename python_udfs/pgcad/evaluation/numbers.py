"""Whether the first hit has the numbers that were asked for: pitch, pin count, sizes.

What a part's numbers are is read from its own caption, tags and name, which the gallery does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgcad.corpus.captions import name_words
from pgcad.corpus.split import Row
from pgcad.encoders.quantities import quantities

ROLES = ("pitch_mm", "pins", "thread_mm", "length_mm")
_TOLERANCE = 0.02


def right_numbers(queries: Sequence[str], best: Sequence[Row | None]) -> dict[str, tuple[Tensor, list[bool]]]:
    """Per role, and for all of a query's numbers at once (`all`): which queries name it, and whether the first hit of
    each, None where nothing was found, has every number that they name.
    """
    found: dict[str, tuple[list[int], list[bool]]] = {role: ([], []) for role in (*ROLES, "all")}
    for number, (query, hit) in enumerate(zip(queries, best, strict=True)):
        asked, has = quantities(query), numbers_of(hit) if hit else {}
        right = {role: _holds(asked[role], has.get(role, [])) for role in ROLES if asked.get(role)}
        if right:
            right["all"] = all(right.values())
        for role, value in right.items():
            found[role][0].append(number)
            found[role][1].append(value)
    return {role: (torch.tensor(which), hits) for role, (which, hits) in found.items() if which}


def numbers_of(row: Row) -> dict[str, list[float]]:
    """Every number that the texts of a part give, by role."""
    return quantities(f"{row.caption}, {row.tags}, {name_words(row.name)}")


def _holds(asked: Sequence[float], has: Sequence[float]) -> bool:
    return all(any(abs(a - b) <= _TOLERANCE * abs(a) for b in has) for a in asked)
