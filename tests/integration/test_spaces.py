"""Spaces with the real encoders: what cad.reembed makes of stored parts is what loading made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
import trimesh
from part_files import mesh_file
from pgcad_load.cluster import LocalCluster
from psycopg.types.json import Jsonb

Connection = psycopg.Connection[Any]
SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "parts"


@pytest.fixture
def parts(db: Connection, service: LocalCluster) -> Connection:
    """The three smallest STEP files of the samples, and a mesh."""
    steps = sorted(SAMPLES.rglob("*.step"), key=lambda path: path.stat().st_size)[:3]
    files = {path.name: path.read_bytes() for path in steps}
    files["ball.stl"] = mesh_file(trimesh.creation.icosphere(subdivisions=2, radius=10), "stl")
    for name, content in files.items():
        db.execute(
            "insert into cad.ingest (source_uri, format, content) values (%s, %s, %s)",
            [name, Path(name).suffix[1:], content],
        )
    db.execute("call cad.ingest_pending()")
    assert db.execute("select state, count(*) from cad.ingest group by 1").fetchall() == [("done", 4)]
    return db


def test_the_default_space_made_anew_is_the_same(parts: Connection) -> None:
    parts.execute("update cad.space set encoder_version = 'of old' where name = 'cad'")
    parts.execute("update cad.space_cad set encoder_version = 'of old'")
    parts.execute("call cad.reembed('cad', 3)")
    for kind in ("text", "image", "shape", "brep", "fused"):
        [(rows, least)] = parts.execute(
            f"select count(*), min(1 - (n.{kind}_vec <=> o.{kind}_vec)) from cad.space_cad as n"
            " join cad.space_cad_previous as o using (model_id)"
        ).fetchall()
        assert rows == parts.execute("select count(*) from cad.model").fetchone()[0]  # type: ignore[index]
        assert least > 0.999, kind
    [(views, least)] = parts.execute(
        "select count(*), min(1 - (n.vec <=> o.vec)) from cad.space_cad_view as n"
        " join cad.space_cad_previous_view as o using (model_id, view)"
    ).fetchall()
    assert views == 10 * rows and least > 0.999
    assert parts.execute(
        "select count(*) from cad.space_cad as n join cad.space_cad_previous as o using (model_id)"
        " where n.text_md5 = o.text_md5"
    ).fetchone() == (rows,)


def only_step_files_have(parts: Connection, table: str, vector: str) -> tuple[str, bytes]:
    """That parts have this vector where they come from STEP files, and nowhere else; name and bytes of such a file."""
    having = dict(
        parts.execute(
            f"select m.source_uri, s.{vector} is not null from cad.{table} as s join cad.model as m using (model_id)"
        ).fetchall()
    )
    assert having and all(has == uri.endswith(".step") for uri, has in having.items())
    [uri, *_] = [uri for uri in having if uri.endswith(".step")]
    return uri, next(SAMPLES.rglob(uri)).read_bytes()


def test_the_space_of_exact_geometry(parts: Connection) -> None:
    parts.execute("select cad.add_space('brep', 512, 'native', '{\"tower\": \"brep\"}')")
    parts.execute("call cad.reembed('brep')")
    uri, content = only_step_files_have(parts, "space_brep", "shape_vec")
    for space in ("brep", ["brep", "cad"]):
        found = parts.execute(
            "select m.source_uri, h.shape_score from cad.search_cad_shape(%s, 'step', 1, options => %s) as h"
            " join cad.model as m using (model_id)",
            [content, Jsonb({"space": space})],
        ).fetchone()
        assert found == (uri, pytest.approx(1, abs=2e-3))


def test_exact_faces_are_a_score_of_their_own(parts: Connection) -> None:
    """A part is found by the faces of its file, and one that was read from a mesh has none."""
    uri, content = only_step_files_have(parts, "space_cad", "brep_vec")
    [(first, score), (_, second)] = parts.execute(
        "select m.source_uri, h.score from cad.search_cad_shape(%s, 'step', 2, options => %s) as h"
        " join cad.model as m using (model_id)",
        [content, Jsonb({"against": "brep"})],
    ).fetchall()
    assert (first, score) == (uri, pytest.approx(1, abs=2e-3))
    assert second < 0.99
