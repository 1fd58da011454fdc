"""Figures with their uncertainty: over queries (micro) and averaged over families (macro), each with an interval.

Percentile bootstrap: Efron and Tibshirani 1993. Micro figures resample queries, macro figures resample families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A share and its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(number, 4) for name, number in asdict(self).items()}


@dataclass(frozen=True)
class Share:
    """How many of the queries succeeded: of all of them, and averaged over families."""

    queries: int
    micro: Estimate
    macro: Estimate


def share(hits: Sequence[bool] | NDArray[np.bool_], families: Sequence[str], rng: np.random.Generator) -> Share:
    """Share of true `hits` (n,), whose parts belong to `families` (n,). Raises ValueError when there is no query."""
    values = np.asarray(hits, np.float64)
    if not len(values):
        raise ValueError("there is no query to measure by")
    _, family = np.unique(np.asarray(families), return_inverse=True)
    of_families = np.bincount(family, values) / np.bincount(family)
    return Share(len(values), estimate(values, rng), estimate(of_families, rng))


def estimate(values: NDArray[np.float64], rng: np.random.Generator) -> Estimate:
    """The mean of `values` (n,) and the interval of the means of resamples."""
    n = len(values)
    counts = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    low, high = np.percentile(counts @ values / n, _TAILS)
    return Estimate(float(values.mean()), float(low), float(high))
