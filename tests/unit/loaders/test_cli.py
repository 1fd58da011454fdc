"""The command line before it reaches a database."""

import subprocess
import sys
from pathlib import Path

import pytest
from pgcad_load import connection
from pgcad_load.cli import app
from pgcad_load.discovery import PartFile
from pgcad_load.loading import Tally
from typer.testing import CliRunner

HEAVY = {"torch", "OCP", "build123d", "vtk", "pyvista", "numpy", "psycopg", "trimesh", "rich.progress", "jinja2"}


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    listing = subprocess.run(
        [sys.executable, "-c", "import pgcad_load.cli, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert HEAVY & set(listing.stdout.split()) == set()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "bolt", "--filters", "{"], "not JSON"),
        (["search", "bolt", "--options", "[]"], "expected a JSON object"),
        (["load", "/nowhere/at/all"], "does not exist"),
        (["load"], "Missing argument"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_a_wrong_sidecar_is_a_message_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "parts.csv").write_text("name\nBolt\n")
    result = CliRunner().invoke(app, ["load", str(tmp_path)])
    assert result.exit_code == 1
    assert "no column `file`" in result.output


def test_an_unreachable_database_is_a_message(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["search", "bolt", "--dsn", f"host={tmp_path}"])
    assert result.exit_code == 1
    assert "connection" in result.output and "Traceback" not in result.output


def test_the_option_comes_before_the_environment_before_libpq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGCAD_DSN", "dbname=environment")
    assert connection.resolve("dbname=option") == "dbname=option"
    assert connection.resolve(None) == "dbname=environment"
    monkeypatch.delenv("PGCAD_DSN")
    assert connection.resolve(None) == ""


@pytest.mark.parametrize(("options", "expected"), [([], None), (["--translate", "glossary"], "六角螺母 M8")])
def test_load_translates_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], expected: str | None
) -> None:
    queued: list[PartFile] = []

    def load(parts: list[PartFile], *rest: object) -> Tally:
        queued.extend(parts)
        return Tally(len(parts))

    monkeypatch.setattr("pgcad_load.cli._load", load)
    (tmp_path / "nut.step").write_text("ISO-10303-21;")
    (tmp_path / "parts.csv").write_text("file,name\nnut.step,hex nut M8\n")
    result = CliRunner().invoke(app, ["load", str(tmp_path), *options])
    assert result.exit_code == 0
    assert [part.metadata.get("name_zh") for part in queued] == [expected]


def test_a_translator_without_a_model_is_a_message(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["load", str(tmp_path), "--translate", "https://models.example/v1"])
    assert result.exit_code == 1
    assert "no model is named" in result.output
