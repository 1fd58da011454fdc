"""Product quantization: a vector as one byte for each of its parts (Jégou, Douze and Schmid, "Product quantization for
nearest neighbor search", IEEE TPAMI 33, 2011).

Subvector j of m takes the dimensions j, j + m, j + 2 m, … (zeros where they run out): the first dimensions of the
shipped vectors carry most of what tells parts apart (Matryoshka), so a byte of contiguous ones would have all of it or
nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CENTROIDS = 256
"""Of a subvector: as many as a byte can name."""
ITERATIONS = 20

Matrix = NDArray[np.float32]


def deal(vectors: Matrix, subvectors: int) -> Matrix:
    """Vectors (n, dim) as (subvectors, n, width), width being dim / subvectors rounded up."""
    padded = np.pad(vectors, ((0, 0), (0, -vectors.shape[1] % subvectors)))
    return np.ascontiguousarray(padded.reshape(len(vectors), -1, subvectors).transpose(2, 0, 1))


def cluster(points: Matrix, seed: int) -> Matrix:
    """The centroids (256, width) of points (n, width), n at least 256: k-means as Lloyd does it, from random points. A
    centroid that loses all of its points stays where it is.
    """
    centroids = points[np.random.default_rng(seed).choice(len(points), CENTROIDS, replace=False)]
    for _ in range(ITERATIONS):
        near = nearest(points, centroids)
        members = np.bincount(near, minlength=CENTROIDS)[:, None]
        sums = np.stack([np.bincount(near, column, CENTROIDS) for column in points.T], axis=1)
        centroids = np.where(members > 0, sums / np.maximum(members, 1), centroids).astype(np.float32)
    return centroids


def nearest(points: Matrix, centroids: Matrix) -> NDArray[np.uint8]:
    """The number of the centroid nearest to each point, (n,)."""
    return np.argmax(points @ centroids.T - np.square(centroids).sum(axis=1) / 2, axis=1).astype(np.uint8)


def encode(vectors: Matrix, centroids: Matrix) -> NDArray[np.uint8]:
    """The codes (n, subvectors) of vectors (n, dim) by centroids (subvectors, 256, width)."""
    return np.stack([nearest(*pair) for pair in zip(deal(vectors, len(centroids)), centroids, strict=True)], axis=1)
