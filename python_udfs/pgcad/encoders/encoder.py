"""What every encoder is to those who ask it for vectors: a version, a dimension, and what it can embed."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pgcad.errors import CadError

Matrix = NDArray[np.float32]
Kind = Literal["query", "passage", "image", "points", "brep"]
Modality = Literal["text", "image", "points", "brep"]
KINDS: dict[Modality, tuple[Kind, ...]] = {
    "text": ("query", "passage"),
    "image": ("image",),
    "points": ("points",),
    "brep": ("brep",),
}
SHORTEST = 1e-6
"""A vector below this length has no direction that means anything."""


class Encoder(Protocol):
    """Turns items of some modalities into unit vectors of one space.

    `version` changes with the weights: vectors of different versions are never compared. `modalities` are those that
    `embed` takes. `largest_batch` is the most items that one call should bring, where the encoder has a limit of its
    own. `embed` may be called from several threads at once.
    """

    @property
    def version(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def modalities(self) -> AbstractSet[Modality]: ...
    @property
    def largest_batch(self) -> int | None: ...

    def embed(self, kind: Kind, items: Sequence[Any]) -> Matrix:
        """(n, dim) unit rows of n items: `query` and `passage` texts, `image` RGB pixels (h, w, 3), `points`
        (2048, 6) in mm with unit normals, `brep` graphs of faces. Raises CadError.
        """
        ...

    def fuse(
        self,
        text: Matrix | None = None,
        image: Matrix | None = None,
        shape: Matrix | None = None,
        brep: Matrix | None = None,
    ) -> Matrix:
        """One unit vector (dim,) of those (dim,) that are given. Raises CadError 22023 when none is."""
        ...

    def suppose_text(self, image: Matrix, shape: Matrix, brep: Matrix | None) -> Matrix | None:
        """The text vector (dim,) that a part would have if somebody had described it, from its other vectors (dim,);
        None from an encoder that cannot tell.
        """
        ...

    def close(self) -> None:
        """Let go of what others wait for, because the service ends."""
        ...


def mean_direction(vectors: Sequence[Matrix] | Matrix) -> Matrix:
    """The unit vector (dim,) of the mean of unit vectors (n, dim). Raises CadError 22000 when they cancel out."""
    return unit_rows(np.mean(vectors, axis=0, keepdims=True), "the mean of the vectors")[0]


def mean_of_given(*vectors: Matrix | None) -> Matrix:
    """How an encoder without learned weights fuses. Raises CadError 22023 when nothing is given."""
    given = [vector for vector in vectors if vector is not None]
    if not given:
        raise CadError("22023", "nothing to fuse", "Give a text, an image or a shape.")
    return mean_direction(given)


def said(text: str) -> str:
    """A text as it is sent to an encoder of others. Raises CadError 22023 for an empty one."""
    if not text.strip():
        raise CadError("22023", "the text to embed is empty", "Describe the part, for example 'M8 flange bolt, 40 mm'.")
    return text.encode("utf-8", "replace").decode()  # lone surrogates have no place in any of their formats


def unit_rows(vectors: NDArray[np.floating], whose: str) -> Matrix:
    """Rows (n, dim) scaled to unit length.

    Raises CadError 22000 for numbers that are not finite and for rows without a direction.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise CadError("22000", f"{whose} made a vector of numbers that are not finite", _CHECK_HINT)
    if not (lengths > SHORTEST).all():
        raise CadError("22000", f"{whose} made a vector of length zero", _CHECK_HINT)
    rows: Matrix = (vectors / lengths).astype(np.float32)
    return rows


_CHECK_HINT = "Its weights or its provider are at fault: nothing was stored. Check the encoder of this space."
