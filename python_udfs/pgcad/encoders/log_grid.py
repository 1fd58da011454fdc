"""Positive quantities as soft one-hot vectors on a logarithmic grid.

A network reads 27 mm against 28 mm off such a vector easily, and off a raw scalar hardly at all; the logarithm makes
one grid fit watch screws and girders.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_grid(values: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Encode positive `values` (…) as (…, bins): each splits 1.0 linearly between its two neighbours on the grid.

    Values outside `low` … `high` count as the nearest end.
    """
    position = (values.clamp(low, high) / low).log() * ((bins - 1) / math.log(high / low))
    knots = torch.arange(bins, device=values.device, dtype=position.dtype)
    return (1.0 - (position.unsqueeze(-1) - knots).abs()).clamp_min(0.0)
