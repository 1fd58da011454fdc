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


def test_the_space_of_exact_geometry(parts: Connection) -> None:
    parts.execute("select cad.add_space('brep', 512, 'native', '{\"tower\": \"brep\"}')")
    parts.execute("call cad.reembed('brep')")
    shaped = dict(
        parts.execute(
            "select m.source_uri, s.shape_vec is not null from cad.space_brep as s join cad.model as m using (model_id)"
        ).fetchall()
    )
    assert shaped and all(has == uri.endswith(".step") for uri, has in shaped.items())
    [uri, *_] = [uri for uri in shaped if uri.endswith(".step")]
    content = next(SAMPLES.rglob(uri)).read_bytes()
    for space in ("brep", ["brep", "cad"]):
        found = parts.execute(
            "select m.source_uri, h.shape_score from cad.search_cad_shape(%s, 'step', 1, options => %s) as h"
            " join cad.model as m using (model_id)",
            [content, Jsonb({"space": space})],
        ).fetchone()
        assert found == (uri, pytest.approx(1, abs=2e-3))


def test_exact_faces_are_a_score_of_their_own(parts: Connection) -> None:
    """A part is found by the faces of its file, and one that was read from a mesh has none."""
    faces = dict(
        parts.execute(
            "select m.source_uri, s.brep_vec is not null from cad.space_cad as s join cad.model as m using (model_id)"
        ).fetchall()
    )
    assert faces and all(has == uri.endswith(".step") for uri, has in faces.items())
    [uri, *_] = [uri for uri in faces if uri.endswith(".step")]
    content = next(SAMPLES.rglob(uri)).read_bytes()
    [(first, score), (_, second)] = parts.execute(
        "select m.source_uri, h.score from cad.search_cad_shape(%s, 'step', 2, options => %s) as h"
        " join cad.model as m using (model_id)",
        [content, Jsonb({"against": "brep"})],
    ).fetchall()
    assert (first, score) == (uri, pytest.approx(1, abs=2e-3))
    assert second < 0.99
