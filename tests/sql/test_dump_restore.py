"""pg_dump and pg_restore: a fresh cluster answers as the old one did, once its tables are analysed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pgcad_load.cluster import LocalCluster, bindir
from psycopg import sql
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService

Connection = psycopg.Connection[Any]
TABLES = [
    "model", "artifact", "view_image", "space", "space_cad", "space_cad_view", "space_extra", "space_clip",
    "space_clip_view", "ingest", "fusion_weight", "fusion_weight_version", "feedback", "glossary",
]  # fmt: skip
EXCHANGED = ["space_cad_previous", "space_cad_previous_view", "space_clip_next", "space_clip_next_view"]


@pytest.fixture(params=["as loaded", "after an exchange"])
def filled(db: Connection, scripted: ScriptedService, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """Parts in two families of which one is promoted, a failed file, added spaces, changed weights, judgements, a
    reader.

    After an exchange the default space has its previous vectors, too, and another space the half of its next ones.
    """
    for number in range(12):
        db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata) values (%s, 'step', %s, %s)",
            [
                f"{number}.step",
                b"fail 22023" if number == 11 else b"part %d" % number,
                Jsonb({"name": f"M{number}x20 螺栓", "family": ["bolts", "it's 螺\\母"][number % 2]}),
            ],
        )
    db.execute("call cad.ingest_pending()")
    db.execute("select cad.add_space('extra', 3)")
    db.execute(
        "insert into cad.space_extra (model_id, family, fused_vec, encoder_version)"
        " select model_id, family, '[1,2,3]', 'extra-1' from cad.model"
    )
    clip = {"architecture": "ViT-B-32", "checkpoint": "clip.safetensors"}
    db.execute("select cad.add_space('clip', 4, 'open_clip', %s)", [Jsonb(clip)])
    db.execute("call cad.promote_family($$it's 螺\\母$$)")
    db.execute("call cad.reembed('clip')")
    db.execute("update cad.fusion_weight set lexical = 0.75 where query_kind = 'text'")
    db.execute("update cad.fusion_weight set lexical = 0.5, numbers = 0 where query_kind = 'text'")
    db.execute("update cad.fusion_weight set version = 2 where query_kind = 'text'")
    db.execute("select cad.record_feedback('M3', model_id) from cad.model")
    db.execute("select cad.record_feedback(image => 'picture', model_id => model_id) from cad.model limit 1")
    db.execute("insert into cad.glossary (english, chinese) values ('grease nipple', '黄油嘴')")
    db.execute("call cad.add_index('cad', 'prefix', '{\"dim\": 96, \"m\": 8}')")
    db.execute("create role buyer")
    db.execute("select cad.grant_to('buyer', 'reader')")
    if request.param == "after an exchange":
        scripted.version = "scripted-2"
        db.execute("call cad.reembed('cad')")
        scripted.versions["clip"], scripted.batches_left = "clip-2", 1
        with pytest.raises(psycopg.errors.ConnectionFailure):
            db.execute("call cad.reembed('clip', 6)")
        scripted.versions["clip"], scripted.batches_left = "scripted-1", 1000
    yield db
    db.execute("drop owned by buyer")
    db.execute("drop role buyer")


@pytest.fixture(scope="module")
def elsewhere(installed_extension: None) -> Iterator[LocalCluster]:
    """Another cluster, in which pgcad has never been; roles are made by hand, because a dump has none."""
    state = Path(tempfile.mkdtemp(prefix="pgcad-test-"))
    cluster = LocalCluster.at(state, durable=False)
    try:
        cluster.start()
        with cluster.connect("postgres") as connection:
            connection.execute("create role buyer")
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(state)


@pytest.fixture
def restored(
    filled: Connection, cluster: LocalCluster, elsewhere: LocalCluster, tmp_path: Path
) -> Iterator[Connection]:
    """A fresh database in a fresh cluster, restored from a dump of `filled` as docs/design.md says."""
    dump, name = tmp_path / "dump", filled.info.dbname
    subprocess.run([bindir() / "pg_dump", "-Fc", "-f", dump, cluster.dsn(name)], check=True)
    with elsewhere.connect("postgres") as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    subprocess.run([bindir() / "pg_restore", "--exit-on-error", "-d", elsewhere.dsn(name), dump], check=True)
    elsewhere.set_defaults(name)  # a dump leaves the settings of the database out
    with elsewhere.connect("postgres") as connection:
        [socket] = filled.execute("select current_setting('pgcad.socket')").fetchone() or [""]
        setting = sql.SQL("alter database {} set pgcad.socket = {}")
        connection.execute(setting.format(sql.Identifier(name), sql.Literal(socket)))
    with elsewhere.connect(name) as connection:
        yield connection


def test_every_row_comes_back(filled: Connection, restored: Connection) -> None:
    exchanged = filled.execute("select to_regclass('cad.space_cad_previous')").fetchone() != (None,)
    for table in [*TABLES, *(EXCHANGED if exchanged else [])]:
        rows = f"select t::text, tableoid::regclass::text from cad.{table} as t order by 1"
        before = filled.execute(rows).fetchall()
        assert before, f"cad.{table} is empty, so the test shows nothing"
        assert restored.execute(rows).fetchall() == before
    views = "select v::text from cad.view as v where vec is not null order by 1"
    assert len(restored.execute(views).fetchall()) == 110
    assert restored.execute(views).fetchall() == filled.execute(views).fetchall()


@pytest.mark.parametrize("role", ["postgres", "buyer"])
def test_searches_answer_the_same(filled: Connection, restored: Connection, role: str) -> None:
    for database in (filled, restored):
        database.execute("analyze")
        database.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    for search in (
        "select * from cad.search_cad('M8x20 螺栓', 5)",
        "select * from cad.search_cad('bolt', 5, family => 'bolts')",
        "select * from cad.search_cad_like((select model_id from cad.model where name = 'M3x20 螺栓'), 12)",
        "select * from cad.search_cad_shape('part 4', 'step', 3)",
        'select * from cad.search_cad(\'bolt\', 5, options => \'{"space": ["cad", "clip"]}\')',
    ):
        before = filled.execute(search).fetchall()
        assert before
        assert restored.execute(search).fetchall() == before
    for database in (filled, restored):
        database.execute("reset role")


def test_doctor_asks_for_the_statistics_that_a_dump_leaves_out(restored: Connection) -> None:
    check = "select status, hint from cad.doctor() where check_name = 'statistics of cad.model'"
    status, hint = restored.execute(check).fetchone() or ("", "")
    assert status == "warning"
    assert "analyze cad.model" in hint
    restored.execute("analyze cad.model")
    assert restored.execute(check).fetchone() == ("ok", None)


def test_a_restored_database_goes_on(filled: Connection, restored: Connection) -> None:
    """Identities continue, partitions and triggers work, the added space is one of the extension's spaces."""
    restored.execute("select cad.retry_failed()")
    restored.execute("insert into cad.ingest (source_uri, format, content) values ('new', 'STEP', 'new')")
    restored.execute("call cad.ingest_pending()")
    restored.execute("call cad.promote_family('bolts')")
    assert restored.execute("select state, format from cad.ingest where source_uri = 'new'").fetchone() == (
        "done",
        "step",
    )
    assert (
        restored.execute(
            "select tableoid::regclass::text, count(*) from cad.space_extra group by 1 order by 1"
        ).fetchall()
        == filled.execute(
            "select cad._partition_name('extra', family), count(*) from cad.model group by 1 order by 1"
        ).fetchall()
    )


def test_restored_weights_have_their_versions(restored: Connection) -> None:
    versions = "select version, lexical, numbers, source from cad.fusion_weight_version where query_kind = 'text'"
    assert restored.execute(f"{versions} order by version").fetchall() == [
        (1, 0.5, 0.25, "default"), (2, 0.75, 0.25, "set by hand"), (3, 0.5, 0, "set by hand"),
    ]  # fmt: skip
    assert restored.execute("select cad.undo_learn_weights('text')").fetchone() == (1,)
    weights = "select lexical, version from cad.fusion_weight where query_kind = 'text'"
    assert restored.execute(weights).fetchone() == (0.5, 1)
    restored.execute("update cad.fusion_weight set lexical = 2 where query_kind = 'text'")
    assert restored.execute(weights).fetchone() == (2, 4)


def test_indexes_that_a_dump_leaves_out_are_asked_for_and_made(filled: Connection, restored: Connection) -> None:
    """The indexes of a table that belongs to the extension are not dumped: the script makes those of a new space."""
    standing = (
        "select partition::text, kind, dim, parameters from cad.index_health"
        " where space = 'cad' and valid order by 1, 2"
    )
    check = "select status, detail from cad.doctor() where check_name = 'vector indexes'"
    status, detail = restored.execute(check).fetchone() or ("", "")
    assert (status, "space_cad_default: prefix" in detail) == ("error", True)
    restored.execute("call cad.add_index('cad', 'prefix')")
    assert restored.execute(standing).fetchall() == filled.execute(standing).fetchall()
    assert len(restored.execute(standing).fetchall()) == 4
    assert restored.execute(check).fetchone() == filled.execute(check).fetchone()


def test_a_restored_database_takes_another_model(filled: Connection, restored: Connection) -> None:
    """What was begun goes on, what was kept can go, and the tables are exchanged as in any other database."""
    if restored.execute("select to_regclass('cad.space_cad_previous')").fetchone() != (None,):
        restored.execute("select cad.drop_previous('cad')")
    for space in ("clip", "cad"):
        restored.execute(f"update cad.space set encoder_version = 'of old' where name = '{space}'")
        restored.execute(f"update cad.space_{space} set encoder_version = 'of old'")
        restored.execute(f"call cad.reembed('{space}')")
        left = f"select count(*) from cad.space_{space} where encoder_version = 'of old'"
        assert restored.execute(left).fetchone() == (0,)
        assert restored.execute(f"select count(*) from cad.space_{space}_previous").fetchone() == (11,)
    members = (
        "select objid::regclass::text from pg_depend join pg_class as c on c.oid = objid where deptype = 'e'"
        " and classid = 'pg_class'::regclass and relname like 'space\\_%%' order by 1"
    )
    assert restored.execute(members).fetchall() == [("space_cad",), ("space_cad_default",), ("space_cad_view",)]
    dumped = "select c::regclass::text from pg_extension, unnest(extconfig) as c where extname = 'pgcad' order by 1"
    assert restored.execute(dumped).fetchall() == [
        ("artifact",), ("centroid",), ("codebook",), ("codebook_version_seq",), ("feedback",), ("fusion_weight",),
        ("fusion_weight_version",), ("glossary",), ("hyperplane",), ("ingest",), ("ingest_ingest_id_seq",),
        ("model",), ("part_code",), ("space",), ("space_cad_default",), ("space_cad_view",), ("tuned_scan",),
        ("tuning",), ("view_image",),
    ]  # fmt: skip
