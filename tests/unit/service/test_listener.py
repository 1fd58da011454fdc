"""The socket: one service per path, restricted from the first moment, removed at the end."""

from __future__ import annotations

import asyncio
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pgcad.errors import CadError
from pgcad.service.listener import listening_socket


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pgcad-") as folder:
        yield Path(folder, "new", "s")


def listen(path: Path, group: str | None = None) -> int:
    """Listen once; the mode of the socket file."""

    async def listening() -> int:
        async with listening_socket(path, group, patience_s=0):
            return stat.S_IMODE(path.stat().st_mode)

    return asyncio.run(listening())


def test_the_socket_is_for_user_and_group_and_goes_away(path: Path) -> None:
    assert listen(path) == 0o660
    assert not path.exists()


def test_a_stale_file_is_taken_over(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert listen(path) == 0o660


def test_a_second_service_is_refused_and_the_first_keeps_its_socket(path: Path) -> None:
    async def twice() -> None:
        async with listening_socket(path, None, patience_s=0):
            with pytest.raises(CadError) as refused:
                async with listening_socket(path, None, patience_s=0):
                    pass
            assert refused.value.sqlstate == "55006"
            assert path.exists()

    asyncio.run(twice())


@pytest.mark.parametrize(
    ("name", "group", "sqlstate"),
    [("x" * 120, None, "22023"), ("s", "no-such-group", "22023"), ("s.lock/s", None, "42501")],
)
def test_what_cannot_be_bound_is_explained(path: Path, name: str, group: str | None, sqlstate: str) -> None:
    path.parent.mkdir()
    Path(path.parent, "s.lock").touch()
    with pytest.raises(CadError) as refused:
        listen(path.parent / name, group)
    assert refused.value.sqlstate == sqlstate
    assert refused.value.hint
