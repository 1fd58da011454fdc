"""Bad input of every kind, from SQL through the real service: a clear error or a failed row with its reason; the good
files among them become parts; the same backend and the same server are there afterwards.
"""

from __future__ import annotations

import functools
import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trimesh
from part_files import cloud_file, mesh_file
from pgcad.geometry.formats import FORMATS, MESHES
from pgcad_load.cluster import LocalCluster
from PIL import Image
from psycopg.types.json import Jsonb

Connection = psycopg.Connection[Any]

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "parts"
FOREIGN = {"npy": "stl", "xyz": "glb", "obj": "glb", "off": "ply", "gltf": "3mf"}
"""For each format one whose files are certainly none of it; else glb, whose signature nothing else has."""
HOSTILE_NAMES = [
    "file:///../../etc/passwd.step",
    "'; drop table cad.model; --.step",
    "\x1b[31mred\x1b[0m.step",
    "\u202egpj.step",
    "a" * 5000 + ".step",
    "line\nbreak\t.step",
    "%s%n{0}$(reboot)`reboot`.step",
]


@pytest.fixture(autouse=True)
def nothing_restarted(db: Connection, service: LocalCluster) -> Iterator[None]:
    identity = "select pg_backend_pid(), pg_postmaster_start_time(), cad.encoder_health() ->> 'status'"
    before = db.execute(identity).fetchone()
    yield
    assert db.execute(identity).fetchone() == before


def step_file() -> bytes:
    return min(SAMPLES.glob("*/*.step"), key=lambda path: path.stat().st_size).read_bytes()


def good_files() -> dict[str, bytes]:
    """A good file of every format."""
    sphere = trimesh.creation.icosphere(subdivisions=1, radius=10)
    meshes = {form: mesh_file(sphere, form) for form in MESHES}
    return {"step": step_file(), **meshes, **{form: cloud_file(sphere.vertices, form) for form in ("xyz", "npy")}}


@functools.cache
def archive_bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("3D/3dmodel.model", bytes(210 << 20))
    return out.getvalue()


def bad_files() -> dict[str, tuple[str, bytes]]:
    """Name → format and bytes: every format truncated, empty, at random, and said to be of another; a bomb."""
    good = good_files()
    files = {"bomb.3mf": ("3mf", archive_bomb())}
    for form in FORMATS:
        other = FOREIGN.get(form, "step" if form == "glb" else "glb")
        files[f"empty.{form}"] = form, b""
        files[f"random.{form}"] = form, random.Random(form).randbytes(5000)
        files[f"truncated.{form}"] = form, good[form][: len(good[form]) * 3 // 5].rstrip(b"\n") + b" 5"
        files[f"another.{form}"] = form, good[other]
    return files


def queue(db: Connection, uri: str, form: str, content: bytes, **metadata: object) -> None:
    db.execute(
        "insert into cad.ingest (source_uri, format, content, metadata) values (%s, %s, %s, %s)",
        [uri, form, content, Jsonb(metadata)],
    )


def made_different(content: bytes, number: int) -> bytes:
    """The same part as a STEP file of other bytes."""
    return content + b"\n/* %d */\n" % number


def test_bad_files_of_every_format_fail_alone_with_a_reason(db: Connection) -> None:
    bad = bad_files()
    for name, (form, content) in bad.items():
        queue(db, name, form, content)
    for form, content in good_files().items():
        queue(db, f"good.{form}", form, content)
    db.execute("call cad.ingest_pending()")
    rows = db.execute("select source_uri, state, last_sqlstate, length(last_error) from cad.ingest").fetchall()
    assert {uri for uri, state, _, _ in rows if state == "done"} == {f"good.{form}" for form in FORMATS}
    failed = {uri: (sqlstate, length) for uri, state, sqlstate, length in rows if state == "failed"}
    assert failed.keys() == bad.keys()
    assert {sqlstate for sqlstate, _ in failed.values()} == {"22023", "54000"}
    assert failed["bomb.3mf"][0] == "54000"
    assert all(20 < length < 1000 for _, length in failed.values())


def test_hostile_file_names_are_only_names(db: Connection) -> None:
    for number, name in enumerate(HOSTILE_NAMES):
        queue(db, name, "step", made_different(step_file(), number))
    db.execute("call cad.ingest_pending()")
    assert db.execute("select distinct state from cad.ingest").fetchall() == [("done",)]
    shown = db.execute("select name, part_number, array_to_string(aliases, '') from cad.part").fetchall()
    assert len(shown) == len(HOSTILE_NAMES)
    assert all(text is None or text.isprintable() for row in shown for text in row)


def test_captions_of_control_characters_and_of_ten_megabytes(db: Connection) -> None:
    controls = "".join(map(chr, (*range(1, 32), 127, 0x85, 0x200B, 0x202E)))
    queue(db, "controls", "step", made_different(step_file(), 1), name=f"a{controls}b", description=controls)
    queue(db, "long", "step", made_different(step_file(), 2), name="long", description="bolt " * 2_000_000)
    queue(db, "word", "step", made_different(step_file(), 3), name="word", description="x" * 10_000_000)
    queue(db, "plain", "step", made_different(step_file(), 4), name="plain")
    db.execute("call cad.ingest_pending()")
    rows = db.execute("select source_uri, state, coalesce(last_error, '') from cad.ingest order by 1").fetchall()
    states = {uri: state for uri, state, _ in rows}
    assert states["controls"] == states["plain"] == "done"
    assert all(state == "done" or reason for _, state, reason in rows)
    names = {name for (name,) in db.execute("select name from cad.part").fetchall()}
    assert {"a b", "plain"} <= names
    [(hit,)] = db.execute("select name from cad.search_cad('plain', 1)").fetchall()
    assert hit == "plain"


def picture(side: int) -> bytes:
    out = io.BytesIO()
    Image.new("1", (side, side)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("query", "argument", "sqlstate"),
    [
        ("select * from cad.search_cad_image(%s, 3)", picture(20_000), "54000"),
        ("select * from cad.search_cad_image(%s, 3)", picture(64)[:45], "22023"),
        ("select * from cad.search_cad_image(%s, 3)", b"", "22023"),
        ("select * from cad.search_cad_image(%s, 3)", random.Random(1).randbytes(3000), "22023"),
        ("select * from cad.search_cad_shape(%s, 'step', 3)", b"", "22023"),
        ("select * from cad.search_cad_shape(%s, 'step', 3)", step_file()[:3000], "22023"),
        ("select * from cad.search_cad_shape(%s, 'stl', 3)", step_file(), "22023"),
        ("select * from cad.search_cad_shape(%s, 'dwg', 3)", step_file(), "22023"),
        ("select * from cad.search_cad_shape(%s, '3mf', 3)", archive_bomb(), "54000"),
        ("select * from cad.search_cad(%s, 3)", "bolt " * 2_000_000, "54000"),
        ("select * from cad.search_cad(%s, 3)", "\x01\x02\u200b", "22023"),
        (
            "select * from cad.search_cad_points(%s::real[], 3)",
            [[float("nan"), 0.0, float(x)] for x in range(10)],
            "22023",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "",
)
def test_a_query_that_cannot_be_read_says_what_to_do(
    db: Connection, query: str, argument: object, sqlstate: str
) -> None:
    with pytest.raises(psycopg.Error) as failure:
        db.execute(query, [argument])
    assert failure.value.sqlstate == sqlstate
    assert failure.value.diag.message_hint
