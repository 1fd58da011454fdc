"""The B-rep tower as a space of its own: parts are found by their exact faces, and by texts and pictures of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgcad.encoders.encoder import Encoder, Kind, Matrix, Modality
from pgcad.encoders.spec import Fields

TOWERS = ("brep",)


@dataclass(frozen=True)
class NativeSpec:
    """A tower of the shipped weights."""

    tower: str

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> NativeSpec:
        """From a row of cad.space. Raises CadError 22023."""
        return cls(Fields(given, ["tower"]).one_of("tower", TOWERS))

    def open(self, default: Encoder, device: str | None) -> Encoder:
        """The tower as a space, next to that of `default`."""
        return BrepSpace(default)


class BrepSpace:
    """The towers of the default space with the B-rep in the place of the points: nothing is loaded twice."""

    modalities: frozenset[Modality] = frozenset({"text", "image", "brep"})

    def __init__(self, cad: Encoder) -> None:
        self._cad = cad
        self.dim, self.largest_batch = cad.dim, cad.largest_batch
        self.version = f"brep-{cad.version.removeprefix('cad-')}"

    def embed(self, kind: Kind, items: Sequence[Any]) -> Matrix:
        """As the default space does."""
        return self._cad.embed(kind, items)

    def fuse(
        self,
        text: Matrix | None = None,
        image: Matrix | None = None,
        shape: Matrix | None = None,
        brep: Matrix | None = None,
    ) -> Matrix:
        """With the weights of the default space; the shape of a part is its B-rep."""
        return self._cad.fuse(text=text, image=image, brep=shape if brep is None else brep)

    def suppose_text(self, image: Matrix, shape: Matrix, brep: Matrix | None) -> Matrix | None:
        """None: its shape is not that of the points, which the default space supposes texts by."""
        return None

    def close(self) -> None:
        """Nothing: the towers are those of the default space."""
