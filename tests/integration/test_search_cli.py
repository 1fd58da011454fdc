"""Searching from the command line, with the real encoders over a few samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pgcad_load.cli import app
from pgcad_load.cluster import LocalCluster
from typer.testing import CliRunner, Result

FOLDERS = ("flange_bolt", "bracket", "ball_bearing")
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
QUERIES = SAMPLES / "queries"


@pytest.fixture
def pgcad(dsn: str) -> Callable[..., Result]:
    """Run a command of the command line on the database of the test."""
    wide = CliRunner(env={"COLUMNS": "200"})
    return lambda *arguments: wide.invoke(app, [*map(str, arguments), "--dsn", dsn])


def test_every_kind_of_question_is_answered(
    pgcad: Callable[..., Result], tmp_path: Path, service: LocalCluster
) -> None:
    folders = [SAMPLES / "parts" / name for name in FOLDERS]
    loaded = pgcad("load", *folders, "--metadata", SAMPLES / "parts" / "parts.csv")
    assert loaded.exit_code == 0, loaded.output

    questions: list[tuple[list[object], str]] = [
        (["M8 flange bolt, 40 mm"], "EN1662-M8x40"),
        (["深沟球轴承 608"], "ISO15-608"),
        (["--image", QUERIES / "flange_bolt.png"], "flange_bolt"),
        (["--file", QUERIES / "bracket.step"], "bracket"),
        (["--points", QUERIES / "u_bracket.xyz"], "bracket"),
        (["bracket", "--image", QUERIES / "flange_bolt.png", "--file", QUERIES / "bracket.step"], "bracket"),
    ]
    page = tmp_path / "page.html"
    for arguments, expected in questions:
        result = pgcad("search", *arguments, "-k", 3, "--html", page)
        assert result.exit_code == 0, result.output
        assert "3 hits in" in result.output
        assert expected in result.output
        text = page.read_text(encoding="utf-8")
        assert text.count('class="rank"') == 3
        assert text.count("data:image/png;base64,") >= 3
        assert expected in text

    narrow = pgcad("search", "bolt", "--family", "flange_bolt", "--filters", '{"material": "steel"}')
    assert "5 hits in" in narrow.output
    against = pgcad("search", "bolt", "-k", 1, "--options", '{"against": "shape", "strategy": "exact"}')
    assert "1 hit in" in against.output


def test_what_the_database_refuses_is_shown_with_its_hint(pgcad: Callable[..., Result]) -> None:
    for arguments, says in [(["-k", 0], "k"), (["--filters", '{"colour": "red"}'], "colour")]:
        refused = pgcad("search", "bolt", *arguments)
        assert refused.exit_code == 1
        assert says in refused.output and "Traceback" not in refused.output
