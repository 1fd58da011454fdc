"""A space without models: an item's vector depends on the item alone, so everyone's answer can be told apart."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgcad.encoders.encoder import Kind, Modality
from pgcad.errors import CadError

DIM = 512
Matrix = NDArray[np.float32]


def vector_of(content: bytes) -> Matrix:
    """The unit vector of some bytes."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8])
    vector = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


class TinySpace:
    dim, version, largest_batch = DIM, "cad-tiny", None
    modalities: frozenset[Modality] = frozenset({"text", "image", "points", "brep"})

    def __init__(self, pause_s: float = 0.0, supposes: bool = True) -> None:
        self.pause_s = pause_s
        self.batches: list[int] = []
        self.supposes = supposes

    def embed(self, kind: Kind, items: Sequence[Any]) -> Matrix:
        return np.stack([vector_of(content) for content in self._contents(kind, items)])

    def _contents(self, kind: Kind, items: Sequence[Any]) -> list[bytes]:
        if kind == "brep":
            return [graph.area_mm2.tobytes() for graph in items]
        if kind in ("image", "points"):
            return [item.tobytes() for item in items]
        self.batches.append(len(items))
        time.sleep(self.pause_s)
        if "unknown word" in items:
            raise CadError("22023", "an unknown word")
        return [item.encode() for item in items]

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

    def suppose_text(self, image: Matrix, shape: Matrix, brep: Matrix | None) -> Matrix | None:
        return vector_of(image.tobytes() + shape.tobytes()) if self.supposes else None

    def close(self) -> None:
        """Nothing to let go of."""
