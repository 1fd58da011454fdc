"""How much memory a local cluster is given."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from pgcad_load import cluster


@pytest.mark.parametrize(
    ("memory_gib", "shared_buffers_mb"), [(0.25, 128), (1, 256), (8, 2048), (32, 8192), (512, 8192)]
)
def test_a_quarter_of_the_memory_within_bounds(memory_gib: float, shared_buffers_mb: int) -> None:
    assert cluster._shared_buffers_mb(int(memory_gib * 2**30)) == shared_buffers_mb


@pytest.mark.parametrize("limit", ["1073741824\n", "max\n", "1152921504606846976\n", None])
def test_a_container_has_what_it_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None) -> None:
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(cluster, "MEMORY_LIMIT", file)
    total = psutil.virtual_memory().total
    assert cluster._memory_bytes() == (min(total, 2**30) if limit == "1073741824\n" else total)
