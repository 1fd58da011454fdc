"""How latencies are summed up."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentiles(times_ms: Sequence[float]) -> dict[str, float]:
    """Mean and percentiles of at least two latencies."""
    cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
    return {
        "mean_ms": round(statistics.mean(times_ms), 3),
        **{f"p{share}_ms": round(cuts[share - 1], 3) for share in (50, 95, 99)},
    }
