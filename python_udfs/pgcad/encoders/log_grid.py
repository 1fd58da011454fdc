"""Positive quantities as a network reads them easily: soft one-hot vectors on a logarithmic grid, and waves of the
logarithm.

A network reads 27 mm against 28 mm off such a vector easily, and off a raw scalar hardly at all; the logarithm makes
one grid fit watch screws and girders. A grid tells 2 mm from 4 mm, the shortest waves 2.50 mm from 2.54 mm (random
features of a kernel: Rahimi and Recht 2007; as an encoding: Tancik et al. 2020).
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


WAVES = 16
WAVES_WIDTH = 2 * WAVES
_SLOWEST, _FASTEST = 0.5, 64.0  # per decade


def log_waves(values: Tensor) -> Tensor:
    """Cosines and sines of the logarithms of positive `values` (…), from long waves to short: (…, WAVES_WIDTH).

    The product of two such vectors falls from its largest value with the ratio of the quantities, whatever their size.
    """
    rates = torch.logspace(math.log10(_SLOWEST), math.log10(_FASTEST), WAVES, device=values.device)
    phase = 2 * math.pi * values.clamp_min(1e-6).log10().unsqueeze(-1) * rates
    return torch.cat([phase.cos(), phase.sin()], -1) / WAVES**0.5
