"""An inline backend whose jobs are doubles, and what they were called with."""

from __future__ import annotations

import pytest
from pgcad.service.inline import InlineBackend
from service_doubles.jobs import CountingJobs
from service_doubles.space import TinySpace


@pytest.fixture
def counting() -> CountingJobs:
    return CountingJobs()


@pytest.fixture
def backend(counting: CountingJobs, monkeypatch: pytest.MonkeyPatch) -> InlineBackend:
    backend = InlineBackend(TinySpace())
    monkeypatch.setattr(backend, "_jobs", counting)
    return backend
