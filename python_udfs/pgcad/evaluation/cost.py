"""What encoding costs: time on one core, and the size of what ships."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pgcad.encoders.space import CadSpace

_TRIES = 30


def cost(
    space: CadSpace, weights: Path, texts: Sequence[str], picture: NDArray[np.uint8], cloud: NDArray[np.float32]
) -> dict[str, float]:
    """Median milliseconds of one text, picture and cloud (2048, 6) on one core, and megabytes of the weights."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            "text_ms": _median_ms([partial(space.embed_text, [text]) for text in texts[:_TRIES]]),
            "image_ms": _median_ms([partial(space.embed_image, [picture])] * _TRIES),
            "points_ms": _median_ms([partial(space.embed_points, cloud[None])] * _TRIES),
            "weights_mb": round(sum(file.stat().st_size for file in weights.iterdir()) / 2**20, 1),
        }
    finally:
        torch.set_num_threads(threads)


def _median_ms(calls: Sequence[Callable[[], Any]]) -> float:
    calls[0]()
    times = []
    for call in calls:
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times), 2)
