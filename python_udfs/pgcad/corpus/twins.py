"""Parts that no geometry can tell apart: different files of the same surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_TWIN_MM = 1e-3


def twin_labels(clouds: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
    """(n,): the same number for clouds (m, 6) whose points are the same to a thousandth of a millimetre.

    Points are sampled deterministically, so equal surfaces give equal points.
    """
    moments = np.stack([np.r_[cloud[:, :3].mean(0), cloud[:, :3].std(0)] for cloud in clouds])
    labels = np.arange(len(clouds))
    for first, second in sorted(cKDTree(moments).query_pairs(_TWIN_MM)):
        if np.abs(clouds[first] - clouds[second]).max() < _TWIN_MM:
            labels[labels == labels[second]] = labels[first]
    return labels
