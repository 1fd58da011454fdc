"""Which folder holds what can be had again."""

from __future__ import annotations

from pathlib import Path

import pytest
from pgcad import cache


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("PGCAD_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGCAD_CACHE", str(tmp_path / "here"))
    assert cache.cache_folder() == tmp_path / "here"


def test_the_shared_folder_where_it_can_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cache, "SHARED", tmp_path / "pgcad")
    assert cache.cache_folder() == tmp_path / "pgcad"


def test_the_user_s_own_where_the_shared_one_cannot_be_written(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(cache, "SHARED", Path("/proc/pgcad"))  # not even root can make it
    monkeypatch.setattr(cache.os, "access", lambda path, mode: path != Path("/proc"))
    assert cache.cache_folder() == home / ".cache/pgcad"
