"""What a row of cad.space says of its encoder, read with care: it may be older or newer than this program."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from pgcad.encoders.encoder import Encoder
from pgcad.errors import CadError

MAX_DIM = 4000
"""What pgvector indexes of a halfvec."""


class Spec(Protocol):
    """A described encoder. Hashable: equal descriptions are one encoder."""

    def open(self, default: Encoder, device: str | None) -> Encoder:
        """Load the encoder, which may take long. `default` is that of the space cad. Raises CadError."""
        ...


class Fields:
    """The keys of an encoder's description, each read once and checked. Raises CadError 22023."""

    def __init__(self, given: Mapping[str, Any], known: Collection[str]) -> None:
        self._given = given
        for name in given.keys() - {"backend", *known}:
            raise CadError("22023", f"an encoder has no {name!r}", f"It has: {', '.join(sorted(known))}.")

    def text(self, name: str) -> str:
        value = self._given.get(name)
        if not isinstance(value, str) or not value.strip():
            raise CadError("22023", f"the encoder's {name} must be a text, not {value!r}", _HINT)
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self._given.get(name) is None else self.text(name)

    def one_of(self, name: str, known: Collection[str]) -> str:
        value = self.text(name)
        if value not in known:
            raise CadError("22023", f"the encoder's {name} cannot be {value!r}", f"Use {' or '.join(sorted(known))}.")
        return value

    def some_of(self, name: str, known: Collection[str]) -> frozenset[str]:
        values = self._given.get(name)
        if not isinstance(values, list) or not values or not all(value in known for value in values):
            raise CadError(
                "22023", f"the encoder's {name} cannot be {values!r}", f"Give some of {', '.join(sorted(known))}."
            )
        return frozenset(values)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self._given.get(name, default)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:
            raise CadError("22023", f"the encoder's {name} cannot be {value!r}", f"It lies from {low:g} to {high:g}.")
        return float(value)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        value = self.number(name, default, low, high)
        if value != int(value):
            raise CadError("22023", f"the encoder's {name} must be a whole number, not {value:g}", _HINT)
        return int(value)


_HINT = "Describe the encoder as docs/encoders.md does: select cad.add_space(name, dim, backend, encoder)."


def read_spec(given: object, dim: object, models: Path | None) -> Spec:
    """The encoder that a request names; `models` is the folder that checkpoints lie in.

    Raises CadError 22023 for a description that makes no sense.
    """
    if not isinstance(given, Mapping):
        raise CadError("22023", "the encoder must be an object with a backend", _HINT)
    if not isinstance(dim, int) or isinstance(dim, bool) or not 1 <= dim <= MAX_DIM:
        raise CadError("22023", f"the space's dim cannot be {dim!r}", f"It lies from 1 to {MAX_DIM}.")
    backend = given.get("backend")
    if backend == "native":
        from pgcad.encoders.brep_space import NativeSpec

        return NativeSpec.of(given)
    if backend == "open_clip":
        from pgcad.encoders.open_clip import OpenClipSpec

        return OpenClipSpec.of(given, models)
    if backend == "http":
        from pgcad.encoders.http import HttpSpec

        return HttpSpec.of(given, dim)
    if backend == "external":
        hint = "Use search_cad_vector with vectors of your own, and pgcad import-vectors to store them."
        raise CadError("0A000", "the vectors of this space are made elsewhere: it has no encoder", hint)
    raise CadError("22023", f"unknown backend {backend!r}", "Use native, open_clip, http or external.")
