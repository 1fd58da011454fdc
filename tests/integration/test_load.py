"""Loading against a real cluster and a scripted service: nothing lost, nothing twice, every failure told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pgcad_load.cli import app
from pgcad_load.cluster import LocalCluster
from service_doubles.process import eventually
from service_doubles.scripted import Answer, ScriptedService
from typer.testing import CliRunner, Result

Database = psycopg.Connection[Any]


class GatedService(ScriptedService):
    """Answers `analyse` for the first `passes` files, for the others once the gate is open."""

    def __init__(self, path: Path) -> None:
        self.gate, self.passes = threading.Event(), 0
        self.gate.set()
        super().__init__(path)

    def analyse(self, header: dict[str, Any], payloads: list[bytes]) -> Answer | None:
        if len(self.analysed) >= self.passes:
            self.gate.wait(60)
        return super().analyse(header, payloads)


@pytest.fixture
def socket_path(cluster: LocalCluster, db: Database) -> Iterator[Path]:
    """Where the database of `db` looks for its encoder service."""
    path = cluster.socket_dir / f"{db.info.dbname}.sock"
    db.execute(f"alter database {db.info.dbname} set pgcad.socket = '{path}'")
    yield path


@pytest.fixture
def encoder(socket_path: Path) -> Iterator[GatedService]:
    """A service for that database."""
    service = GatedService(socket_path)
    yield service
    service.gate.set()
    service.close()


@pytest.fixture
def pgcad(dsn: str) -> Callable[..., Result]:
    """Run a command of the command line on the database of the test."""
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments), "--dsn", dsn])


def folder_of(path: Path, contents: dict[str, str]) -> Path:
    for name, content in contents.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return path


def start(dsn: str, *arguments: object) -> subprocess.Popen[str]:
    """The same as a program of its own, to be interrupted.

    As from a terminal: a shell that started the tests in its background has them, and their children, ignore Ctrl-C.
    """
    command = [sys.executable, "-m", "pgcad_load.cli", *map(str, arguments), "--dsn", dsn]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


def states(db: Database) -> dict[str, int]:
    return dict(db.execute("select state, count(*) from cad.ingest group by state").fetchall())


def parts(db: Database) -> int:
    return db.execute("select count(*) from cad.model").fetchone()[0]  # type: ignore[index]


def test_a_folder_becomes_parts_with_its_metadata_and_again_is_a_no_op(
    tmp_path: Path, pgcad: Callable[..., Result], db: Database, encoder: GatedService
) -> None:
    folder_of(tmp_path, {"bolts/a.stl": "a", "bolts/b.step": "b", "c.xyz": "c"})
    (tmp_path / "parts.csv").write_text(
        "file,part_number,name_zh,tags\nbolts/a.stl,A-1,螺栓,steel;M8\n", encoding="utf-8"
    )

    first = pgcad("load", tmp_path)
    assert first.exit_code == 0, first.output
    assert "3 new, 0 duplicates, 0 there before, 0 failed" in first.output
    rows = db.execute("select name, family, part_number, name_zh, tags, format from cad.model order by name").fetchall()
    assert rows == [
        ("a", "bolts", "A-1", "螺栓", ["steel", "M8"], "stl"),
        ("b", "bolts", None, None, [], "step"),
        ("c", "unclassified", None, None, [], "xyz"),
    ]

    again = pgcad("load", tmp_path)
    assert again.exit_code == 0
    assert "0 new, 0 duplicates, 3 there before, 0 failed" in again.output
    assert len(encoder.analysed) == 3


def test_the_same_bytes_under_another_name_are_one_part(
    tmp_path: Path, pgcad: Callable[..., Result], db: Database, encoder: GatedService
) -> None:
    folder_of(tmp_path, {"a.stl": "same", "b.stl": "same", "c.stl": "other"})
    assert "2 new, 1 duplicates, 0 there before, 0 failed" in pgcad("load", tmp_path, "--jobs", 1).output
    assert parts(db) == 2


def test_every_failure_is_listed_and_the_others_are_loaded(
    tmp_path: Path, pgcad: Callable[..., Result], db: Database, encoder: GatedService
) -> None:
    folder_of(tmp_path, {"good.stl": "good", "bad\n\x1b[2J.stl": "fail 22023", "gone.stl": "x"})
    (tmp_path / "gone.stl").unlink()
    (tmp_path / "gone.stl").symlink_to(tmp_path / "nowhere")

    result = pgcad("load", tmp_path)
    assert result.exit_code == 1
    assert "1 new, 0 duplicates, 0 there before, 2 failed" in result.output
    assert r"bad\n\x1b[2J.stl: this file is refused" in result.output and "[22023]" in result.output
    assert "gone.stl: No such file or directory" in result.output
    assert "\x1b[2J" not in result.output
    assert states(db) == {"done": 1, "failed": 1}

    assert pgcad("load", tmp_path, "--fail-ok").exit_code == 0
    assert db.execute("select attempts from cad.ingest where state = 'failed'").fetchone() == (1,)
    pgcad("load", tmp_path, "--retry-failed")
    assert db.execute("select attempts from cad.ingest where state = 'failed'").fetchone() == (2,)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)], ids=["kill -9", "ctrl-c"])
def test_a_load_that_was_stopped_is_resumed(
    tmp_path: Path, dsn: str, pgcad: Callable[..., Result], db: Database, encoder: GatedService, how: int, code: int
) -> None:
    folder_of(tmp_path, {f"{number:02}.stl": f"part {number}" for number in range(40)})
    encoder.passes = 20
    encoder.gate.clear()
    loader = start(dsn, "load", tmp_path, "--jobs", 1)
    eventually(lambda: states(db).get("done", 0) >= 8)
    os.kill(loader.pid, how)
    loader.communicate(timeout=60)
    assert loader.returncode == code
    assert states(db)["pending"] > 0

    encoder.gate.set()
    result = pgcad("load", tmp_path)
    assert result.exit_code == 0, result.output
    assert states(db) == {"done": 40}
    assert parts(db) == 40


def test_two_loaders_of_the_same_files_share_the_work(
    tmp_path: Path, dsn: str, db: Database, encoder: GatedService
) -> None:
    folder_of(tmp_path, {f"{number:02}.stl": f"part {number}" for number in range(60)})
    loaders = [start(dsn, "load", tmp_path, "--jobs", 2) for _ in range(2)]
    for loader in loaders:
        _, told = loader.communicate(timeout=120)
        assert loader.returncode == 0, told
    assert states(db) == {"done": 60}
    assert parts(db) == 60
    assert len(encoder.analysed) == len(set(encoder.analysed)) == 60


def test_a_load_waits_for_a_service_that_is_away_and_goes_on(
    tmp_path: Path, dsn: str, db: Database, socket_path: Path
) -> None:
    folder_of(tmp_path, {"a.stl": "a", "b.stl": "b"})
    loader = start(dsn, "load", tmp_path)
    eventually(lambda: states(db) == {"pending": 2})
    time.sleep(1)
    assert loader.poll() is None
    service = GatedService(socket_path)
    _, told = loader.communicate(timeout=60)
    service.close()
    assert loader.returncode == 0, told
    assert "2 new" in told


def test_a_load_gives_up_on_a_service_that_stays_away_and_loses_nothing(
    tmp_path: Path, pgcad: Callable[..., Result], db: Database, socket_path: Path
) -> None:
    folder_of(tmp_path, {"a.stl": "a"})
    result = pgcad("load", tmp_path, "--wait", 0)
    assert result.exit_code == 1
    assert "The encoder service has not answered" in result.output and "pgcad serve" in result.output
    assert states(db) == {"pending": 1}


def test_a_stale_encoder_ends_the_load_with_its_hint(
    tmp_path: Path, pgcad: Callable[..., Result], db: Database, encoder: GatedService
) -> None:
    assert pgcad("load", folder_of(tmp_path / "first", {"a.stl": "a"})).exit_code == 0
    encoder.version = "scripted-2"
    result = pgcad("load", folder_of(tmp_path / "second", {"b.stl": "b"}))
    assert result.exit_code == 1
    assert "scripted-2" in result.output and "weights" in result.output
    assert states(db) == {"done": 1, "pending": 1}


def test_limit_and_family(tmp_path: Path, pgcad: Callable[..., Result], db: Database, encoder: GatedService) -> None:
    folder_of(tmp_path, {"a.stl": "a", "b.stl": "b", "c.stl": "c"})
    pgcad("load", tmp_path, "--limit", 2, "--family", "washers")
    assert db.execute("select name, family from cad.model order by name").fetchall() == [
        ("a", "washers"),
        ("b", "washers"),
    ]


def test_what_others_queued_is_worked_off(pgcad: Callable[..., Result], db: Database, encoder: GatedService) -> None:
    db.execute(
        "insert into cad.ingest (source_uri, format, content) "
        "select format('test:%s', i), 'stl', convert_to(i::text, 'utf8') from generate_series(1, 20) as i"
    )
    result = pgcad("ingest")
    assert result.exit_code == 0, result.output
    assert "20 new" in result.output
    assert states(db) == {"done": 20}


def test_kicad_files_of_a_cache_are_all_accounted_for(
    tmp_path: Path, pgcad: Callable[..., Result], db: Database, encoder: GatedService
) -> None:
    share = tmp_path / "kicad/usr/share/kicad"
    folder_of(share, {f"3dmodels/LED.3dshapes/{number}.step": f"led {number}" for number in range(3)})
    folder_of(
        share, {"footprints/LED.pretty/1.kicad_mod": '(footprint (descr "red LED") (model "LED.3dshapes/1.wrl"))'}
    )
    result = pgcad("load-kicad", "--cache", tmp_path)
    assert "3 new" in result.output
    rows = db.execute("select source_uri, family, description from cad.model where description is not null").fetchall()
    assert ("kicad:LED.3dshapes/1.step", "LED", "red LED") in rows

    hidden = pgcad("load-kicad", "--cache", tmp_path, "--hide-captions")
    assert "3 there before" in hidden.output


def test_status_shows_queue_families_and_doctor(
    tmp_path: Path, pgcad: Callable[..., Result], encoder: GatedService
) -> None:
    pgcad("load", folder_of(tmp_path, {"bolts/a.stl": "a", "bolts/b.stl": "fail 22023"}))
    shown = pgcad("status").output
    for expected in ("queue", "22023", "families", "bolts", "doctor", "encoder service"):
        assert expected in shown
