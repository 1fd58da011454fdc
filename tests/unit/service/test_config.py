"""The command line of `pgcad serve`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pgcad.service.config import DEFAULT_SOCKET, ServiceConfig, parse


def test_defaults_fit_the_machine() -> None:
    config = parse([])
    assert config == ServiceConfig()
    assert config.socket == DEFAULT_SOCKET
    assert 1 <= config.workers <= len(os.sched_getaffinity(0))


def test_options_are_taken() -> None:
    config = parse(["--socket", "/tmp/s", "--workers", "3", "--file-limit-s", "2.5", "--supervise"])
    assert (config.socket, config.workers, config.file_limit_s, config.supervise) == (Path("/tmp/s"), 3, 2.5, True)


@pytest.mark.parametrize(
    "wrong", [["--workers", "0"], ["--grace-s", "nan"], ["--log-level", "loud"], ["--sokcet", "s"]]
)
def test_wrong_options_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(wrong)
    assert exit_.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_the_folder_of_models_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCAD_MODELS", "/srv/models")
    assert parse([]).models == Path("/srv/models")
    assert parse(["--models", "/tmp/m"]).models == Path("/tmp/m")
    monkeypatch.delenv("PGCAD_MODELS")
    assert parse([]).models is None
