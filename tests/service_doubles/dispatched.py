"""One request to a backend without a socket between."""

from __future__ import annotations

import asyncio
from typing import Any

from pgcad.service.desk import Answer, Backend
from pgcad.service.dispatch import dispatch


def ask(backend: Backend, op: str, header: dict[str, Any], *payloads: bytes) -> Answer:
    """Raises CadError where the request is refused."""
    return asyncio.run(dispatch(op, header, list(payloads), backend))
