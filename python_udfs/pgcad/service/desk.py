"""What one request works with: the encoder of its space, and the backend that runs geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pgcad.encoders.encoder import Encoder, Modality
from pgcad.encoders.spec import Spec, read_spec
from pgcad.errors import CadError
from pgcad.service.open_encoder import OpenEncoder

if TYPE_CHECKING:
    from pgcad.service.resident import ResidentSpaces

Payloads = list[bytes]
Answer = tuple[dict[str, Any], Payloads]
Request = tuple[dict[str, Any], Payloads]
DEFAULT_SPACE = "cad"


class Backend(Protocol):
    """Runs geometry jobs (pgcad.service.jobs) and encoders for the dispatcher."""

    @property
    def models(self) -> Path | None:
        """The folder that checkpoints lie in."""
        ...

    @property
    def default(self) -> OpenEncoder:
        """The encoder of the space cad."""
        ...

    @property
    def resident(self) -> ResidentSpaces | None:
        """The spaces whose vectors are held here; None where none can be."""
        ...

    async def geometry(self, job: str, requests: Sequence[Request]) -> list[Answer]:
        """Run one job per request, in any order, answers in the order of the requests."""
        ...

    async def open(self, space: str, spec: Spec) -> OpenEncoder:
        """The encoder of another space, loaded when it is not there yet. Raises CadError."""
        ...

    def health(self) -> dict[str, Any]:
        """The header of the answer to `health`."""
        ...


@dataclass(frozen=True)
class Desk:
    """What one request works with: the encoder of its space, and the backend for geometry."""

    space: str
    open: OpenEncoder
    backend: Backend

    @property
    def encoder(self) -> Encoder:
        return self.open.encoder

    def need(self, modality: Modality, what: str) -> None:
        """Raise CadError 0A000 when the encoder does not take `modality`."""
        if modality not in self.encoder.modalities:
            known = ", ".join(sorted(self.encoder.modalities))
            raise CadError(
                "0A000",
                f"the encoder of space {self.space!r} takes no {what}",
                f'It takes: {known}. Search another space, for example options {{"space": "cad"}}.',
                self.encoder.version,
            )


async def desk_for(header: dict[str, Any], backend: Backend) -> Desk:
    """The encoder that a request asks for. Raises CadError 22023 when it does not fit the space."""
    space, described = header.get("space", DEFAULT_SPACE), header.get("encoder")
    if not isinstance(space, str):
        raise CadError("22023", f"a space has a name, not {space!r}")
    if described is None:
        if space != DEFAULT_SPACE:
            hint = f"Name its encoder, or use the space {DEFAULT_SPACE!r}."
            raise CadError("22023", f"the request does not say which encoder space {space!r} has", hint)
        return Desk(space, backend.default, backend)
    dim = header.get("dim")
    opened = await backend.open(space, read_spec(described, dim, backend.models))
    encoder = opened.encoder
    if encoder.dim != dim:
        raise CadError(
            "22023",
            f"space {space!r} has {dim} dimensions, but its encoder {encoder.version} makes vectors of {encoder.dim}",
            f"Make the space anew with select cad.add_space('{space}', {encoder.dim}, …).",
        )
    return Desk(space, opened, backend)
