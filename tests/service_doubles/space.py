"""A space without models: an item's vector depends on the item alone, so everyone's answer can be told apart."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pgcad.errors import CadError
from pgcad.geometry.brep_graph import BrepGraph

DIM = 512
Matrix = NDArray[np.float32]


def vector_of(content: bytes) -> Matrix:
    """The unit vector of some bytes."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8])
    vector = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


class TinySpace:
    name, dim, version = "cad", DIM, "tiny-1"

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        self.batches: list[int] = []

    def embed_text(self, texts: Sequence[str], role: str = "query") -> Matrix:
        self.batches.append(len(texts))
        time.sleep(self.pause_s)
        if "unknown word" in texts:
            raise CadError("22023", "an unknown word")
        return np.stack([vector_of(text.encode()) for text in texts])

    def embed_image(self, images: Sequence[NDArray[np.uint8]]) -> Matrix:
        return np.stack([vector_of(image.tobytes()) for image in images])

    def embed_points(self, clouds: Matrix) -> Matrix:
        return np.stack([vector_of(cloud.tobytes()) for cloud in clouds])

    def embed_brep(self, graphs: Sequence[BrepGraph]) -> Matrix:
        return np.stack([vector_of(graph.area_mm2.tobytes()) for graph in graphs])

    def fuse(
        self,
        text: Matrix | None = None,
        image: Matrix | None = None,
        shape: Matrix | None = None,
        brep: Matrix | None = None,
    ) -> Matrix:
        total = np.sum([vector for vector in (text, image, shape, brep) if vector is not None], axis=0)
        fused: Matrix = total / np.linalg.norm(total)
        return fused
