"""Another model without stopping: cad.reembed, from the first batch to the exchange, and what may come between."""

from __future__ import annotations

import json
import struct
import threading
from typing import Any

import psycopg
import pytest
from pgcad.encoders.text import passage as passage_of
from psycopg.types.json import Jsonb
from service_doubles.process import eventually
from service_doubles.scripted import ScriptedService, vector

Connection = psycopg.Connection[Any]
CLIP = {"architecture": "ViT-B-32", "checkpoint": "clip.safetensors"}


def queue(db: Connection, *contents: bytes, **metadata: object) -> None:
    for content in contents:
        db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata) values (%s, 'step', %s, %s)",
            [content.decode(), content, Jsonb({"name": content.decode(), "description": "a thing", **metadata})],
        )


def load(db: Connection, *contents: bytes, **metadata: object) -> None:
    queue(db, *contents, **metadata)
    db.execute("call cad.ingest_pending()")


def numbers(content: bytes, dim: int = 512) -> Any:
    return pytest.approx(struct.unpack(f"<{dim}f", vector(content, dim)), abs=1e-3)


def passage(name: str) -> bytes:
    """The text that is embedded for a part of `queue`."""
    return f"{name}. a thing. 盒子".encode()


def embedded(scripted: ScriptedService) -> list[str]:
    """Texts of the parts that were sent to be embedded, in order."""
    requests = [header for header in scripted.headers if header["op"] == "embed_parts"]
    return [part["text"] for header in requests for part in header["parts"] if part["text"]]


def tables(db: Connection, space: str) -> set[str]:
    rows = db.execute(
        "select relname from pg_class where relnamespace = 'cad'::regnamespace and relkind in ('r', 'p')"
        " and relname like %s and not relispartition",
        [f"space\\_{space}%"],
    )
    return {name.removeprefix(f"space_{space}") for (name,) in rows.fetchall()}


def versions(db: Connection, table: str) -> dict[str, int]:
    return dict(db.execute(f"select encoder_version, count(*) from cad.{table} group by 1").fetchall())


def doctor(db: Connection, check: str) -> tuple[Any, ...] | None:
    return db.execute("select status, detail, hint from cad.doctor() where check_name = %s", [check]).fetchone()


@pytest.fixture
def parts(db: Connection, scripted: ScriptedService) -> Connection:
    """Seven parts in the default space, three of them in a promoted family."""
    load(db, *(b"part %d" % number for number in range(4)))
    load(db, *(b"bolt %d" % number for number in range(3)), family="bolts")
    db.execute("call cad.promote_family('bolts')")
    return db


@pytest.fixture
def clip(parts: Connection, scripted: ScriptedService) -> Connection:
    """The same with an added space, not yet filled."""
    scripted.versions["clip"] = "clip-1"
    parts.execute("select cad.add_space('clip', 8, 'open_clip', %s)", [Jsonb(CLIP)])
    parts.execute("call cad.promote_family('bolts')")
    return parts


# --- filling ------------------------------------------------------------------------------------------------------


def test_a_fresh_space_is_filled(clip: Connection, scripted: ScriptedService) -> None:
    clip.execute("call cad.reembed('clip', 2)")
    row = clip.execute(
        "select s.text_vec, s.image_vec, s.shape_vec, s.fused_vec, s.encoder_version from cad.space_clip as s"
        " inner join cad.model as m using (model_id) where m.name = 'part 2'"
    ).fetchone()
    pictures = [b"view %d" % view for view in range(10)]
    assert row is not None
    assert json.loads(row[0]) == numbers(passage("part 2"), 8)
    assert json.loads(row[1]) == numbers(b"".join(pictures), 8)
    assert row[2] is None
    assert json.loads(row[3]) == numbers(passage("part 2") + b"".join(pictures) * 2, 8)
    assert row[4] == "clip-1"
    views = clip.execute(
        "select v.view, v.vec from cad.space_clip_view as v join cad.model as m using (model_id)"
        " where m.name = 'part 2' order by 1"
    ).fetchall()
    assert [(view, json.loads(vec)) for view, vec in views] == [
        (view, numbers(picture, 8)) for view, picture in enumerate(pictures)
    ]
    assert versions(clip, "space_clip") == {"clip-1": 7}
    assert clip.execute("select encoder_version from cad.space where name = 'clip'").fetchone() == ("clip-1",)
    assert tables(clip, "clip") == {"", "_view"}  # what was there before was empty: nothing to keep
    assert clip.execute("select cad._is_promoted('clip', 'bolts')").fetchone() == (True,)
    assert doctor(clip, "vector indexes") == ("ok", "every partition has those of its space", None)
    assert doctor(clip, "vectors of space clip") == ("ok", "7 of 7 parts have them, 0 of another text or encoder", None)


@pytest.mark.parametrize(
    ("backend", "dim", "encoder", "sent"),
    [
        ("open_clip", 8, CLIP, {"text", "views"}),
        ("native", 512, {"tower": "brep"}, {"text", "views", "brep"}),
        ("http", 8, {"modalities": ["text"]}, {"text"}),
        ("http", 8, {"modalities": ["image"]}, {"views"}),
    ],
)
def test_an_encoder_gets_what_it_reads(
    db: Connection, scripted: ScriptedService, backend: str, dim: int, encoder: dict[str, Any], sent: set[str]
) -> None:
    load(db, b"brep part")
    address = {"dialect": "openai", "url": "https://models.example/v1", "model": "m"} if backend == "http" else {}
    db.execute("select cad.add_space('mine', %s, %s, %s)", [dim, backend, Jsonb({**address, **encoder})])
    db.execute("call cad.reembed('mine')")
    [header] = [h for h in scripted.headers if h["op"] == "embed_parts" and any(h["parts"][0].values())]
    assert header["parts"] == [
        {
            "text": passage("brep part").decode() if "text" in sent else None,
            "described": True,
            "views": 10 if "views" in sent else 0,
            "points": False,
            "brep": "brep" in sent,
        }
    ]
    assert (header["space"], header["dim"], header["encoder"]) == (
        "mine",
        dim,
        {"backend": backend, **address, **encoder},
    )


def test_the_default_space_is_made_of_everything(db: Connection, scripted: ScriptedService) -> None:
    load(db, b"brep part")
    assert db.execute("select media_type, content from cad.artifact where role = 'brep'").fetchone() == (
        "application/x-npz", b"brep part",
    )  # fmt: skip
    scripted.version = "scripted-2"
    db.execute("call cad.reembed('cad')")
    header = scripted.headers[-1]
    text = passage("brep part").decode()
    assert header["parts"] == [{"text": text, "described": True, "views": 10, "points": True, "brep": True}]
    assert "encoder" not in header


def test_of_a_part_that_nobody_described_the_name_is_sent(db: Connection, scripted: ScriptedService) -> None:
    names = {b"a": "hex nut", b"b": "4-711 B", b"c": "unnamed part", b"d": "螺母", b"e": "Part 7", b"f": "гайка"}
    for content, name in names.items():
        db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata) values ('x', 'step', %s, %s)",
            [content, Jsonb({"name": name})],
        )
    db.execute("call cad.ingest_pending()")
    scripted.version = "scripted-2"
    db.execute("call cad.reembed('cad')")
    sent = [part for part in scripted.headers[-1]["parts"] if not part["described"]]
    assert sorted(part["text"] for part in sent) == ["", "", "", "hex nut", "гайка", "螺母"]
    report = {"description_generated": True, "description": "a box"}
    assert {part["text"] for part in sent} == {passage_of({**report, "name": name}) for name in names.values()}


def test_who_describes_a_part_makes_it_described(db: Connection, scripted: ScriptedService) -> None:
    db.execute("insert into cad.ingest (source_uri, format, content) values ('x', 'step', 'a nut')")
    db.execute("call cad.ingest_pending()")
    db.execute("update cad.model set material = 'steel'")
    assert db.execute("select description_generated from cad.model").fetchone() == (True,)
    db.execute("update cad.model set description = 'a hex nut'")
    assert db.execute("select description_generated from cad.model").fetchone() == (False,)
    scripted.headers.clear()
    db.execute("call cad.reembed('cad')")
    [sent] = [part for header in scripted.headers for part in header.get("parts", []) if part["views"]]
    assert sent["described"]
    assert "a hex nut" in sent["text"]


def test_only_what_is_missing_is_made(clip: Connection, scripted: ScriptedService) -> None:
    clip.execute("call cad.reembed('clip')")
    load(clip, b"late", b"later")
    status, detail, hint = doctor(clip, "vectors of space clip") or ("", "", "")
    assert (status, detail) == ("warning", "7 of 9 parts have them, 0 of another text or encoder")
    assert "call cad.reembed('clip')" in hint
    scripted.headers.clear()
    clip.execute("call cad.reembed('clip')")
    assert sorted(embedded(scripted)) == [passage("late").decode(), passage("later").decode()]
    assert versions(clip, "space_clip") == {"clip-1": 9}
    scripted.headers.clear()
    clip.execute("call cad.reembed('clip')")
    assert embedded(scripted) == []


def test_a_part_whose_text_changed_is_made_again(clip: Connection, scripted: ScriptedService) -> None:
    for space in ("clip", "cad"):
        clip.execute(f"call cad.reembed('{space}')")
        assert doctor(clip, f"vectors of space {space}")[0] == "ok"  # type: ignore[index]
    clip.execute("update cad.model set description = 'quite another thing' where name = 'bolt 1'")
    clip.execute("update cad.model set tags = '{stock}' where name = 'bolt 2'")  # is in no text
    for space, dim in (("clip", 8), ("cad", 512)):
        assert doctor(clip, f"vectors of space {space}")[:2] == (  # type: ignore[index]
            "warning", "7 of 7 parts have them, 1 of another text or encoder",
        )  # fmt: skip
        scripted.headers.clear()
        clip.execute(f"call cad.reembed('{space}')")
        assert embedded(scripted) == ["bolt 1. quite another thing. 盒子"]
        [(literal,)] = clip.execute(
            f"select s.text_vec from cad.space_{space} as s join cad.model as m using (model_id)"
            " where m.name = 'bolt 1'"
        ).fetchall()
        assert json.loads(literal) == numbers("bolt 1. quite another thing. 盒子".encode(), dim)


def test_a_part_of_which_nothing_is_made_is_asked_about_once(clip: Connection, scripted: ScriptedService) -> None:
    load(clip, b"nothing to see")
    clip.execute("call cad.reembed('clip')")
    scripted.headers.clear()
    clip.execute("call cad.reembed('clip')")
    assert embedded(scripted) == []
    options = Jsonb({"space": "clip"})
    assert len(clip.execute("select from cad.search_cad('thing', 8, options => %s)", [options]).fetchall()) == 8
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="with vectors in space clip"):
        clip.execute(
            "select * from cad.search_cad_like((select model_id from cad.model where name like 'nothing%%'),"
            " options => %s)",
            [options],
        )


def test_texts_that_fill_a_request_are_split(db: Connection, scripted: ScriptedService) -> None:
    load(db, *(b"part %d" % number for number in range(3)))
    db.execute("update cad.model set description = repeat('螺', 5000)")
    db.execute(
        "insert into cad.model (name, description, sha256, format, kind)"
        " select 'part', repeat('𠮷', 5000), sha256(int4send(n)), 'step', 'part' from generate_series(1, 61) as n"
    )
    db.execute("call cad.reembed('cad', 64)")
    assert versions(db, "space_cad") == {"scripted-1": 64}
    assert len(embedded(scripted)) == 64
    assert {len(text) for text in embedded(scripted)} == {4000}


@pytest.mark.parametrize("batch", [0, 65, None])
def test_a_bad_batch_is_refused(parts: Connection, scripted: ScriptedService, batch: int | None) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="batch cannot be") as failure:
        parts.execute("call cad.reembed('cad', %s)", [batch])
    assert "1 to 64" in (failure.value.diag.message_hint or "")


# --- another version ----------------------------------------------------------------------------------------------


def test_another_model_takes_over_and_the_old_vectors_are_kept(parts: Connection, scripted: ScriptedService) -> None:
    before = parts.execute("select s.*::text from cad.space_cad as s order by 1").fetchall()
    scripted.version = "scripted-2"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"scripted-2.*scripted-1") as failure:
        parts.execute("select * from cad.search_cad('bolt')")
    assert "call cad.reembed('cad')" in (failure.value.diag.message_hint or "")
    parts.execute("call cad.reembed('cad', 3)")
    assert versions(parts, "space_cad") == {"scripted-2": 7}
    assert parts.execute("select s.*::text from cad.space_cad_previous as s order by 1").fetchall() == before
    assert parts.execute("select count(*) from cad.space_cad_previous_view").fetchone() == (70,)
    for search in (
        "search_cad('bolt'",
        "search_cad_image('view 3'",
        "search_cad_like((select min(model_id::text)::uuid from cad.model)",
    ):
        assert len(parts.execute(f"select * from cad.{search}, 5)").fetchall()) == 5
    shown = parts.execute("select vec from cad.view where view = 3 limit 1").fetchone()
    assert json.loads(shown[0]) == numbers(b"view 3")  # type: ignore[index]
    assert parts.execute("select cad._is_promoted('cad', 'bolts')").fetchone() == (True,)
    assert doctor(parts, "vector indexes") == ("ok", "every partition has those of its space", None)
    assert "drop_previous" in doctor(parts, "previous vectors of space cad")[2]  # type: ignore[index]

    load(parts, b"new")
    parts.execute("call cad.promote_family('unclassified')")
    parts.execute("delete from cad.model where name = 'part 0'")
    assert versions(parts, "space_cad") == {"scripted-2": 7}

    parts.execute("select cad.drop_previous('cad')")
    assert tables(parts, "cad") == {"", "_view"}
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no previous vectors of space cad"):
        parts.execute("select cad.drop_previous('cad')")


def test_a_second_exchange_asks_for_room(parts: Connection, scripted: ScriptedService) -> None:
    scripted.version = "scripted-2"
    parts.execute("call cad.reembed('cad')")
    scripted.version = "scripted-3"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="still has the vectors") as failure:
        parts.execute("call cad.reembed('cad')")
    assert "cad.drop_previous('cad')" in (failure.value.diag.message_hint or "")
    parts.execute("select cad.drop_previous('cad')")
    parts.execute("call cad.reembed('cad')")
    assert versions(parts, "space_cad") == {"scripted-3": 7}
    names = parts.execute(
        "select relname from pg_class where relnamespace = 'cad'::regnamespace and relname ~ '_(next|previous)_?'"
        " and relkind <> 'i' and relname !~ 'previous'"
    ).fetchall()
    assert names == []


def test_grants_and_policies_are_taken_over(parts: Connection, scripted: ScriptedService) -> None:
    parts.execute("create role buyer")
    try:
        parts.execute("select cad.grant_to('buyer', 'reader')")
        for table in ("model", "space_cad", "space_cad_view", "view_image"):
            rule = (
                "family <> 'bolts'"
                if table == "model"
                else (f"exists (select from cad.model as m where m.model_id = {table}.model_id)")
            )
            parts.execute(f"alter table cad.{table} enable row level security")
            parts.execute(f"create policy visible on cad.{table} for select to buyer using ({rule})")
        before = parts.execute("select tablename, policyname, permissive, roles, cmd, qual from pg_policies order by 1")
        rules = before.fetchall()
        scripted.version = "scripted-2"
        parts.execute("call cad.reembed('cad')")
        after = (
            "select tablename, policyname, permissive, roles, cmd, qual from pg_policies where tablename !~ 'previous'"
        )
        assert parts.execute(f"{after} order by 1").fetchall() == rules
        parts.execute("set role buyer")
        for table in ("space_cad", "space_cad_view", "view", "space_cad_previous"):
            assert parts.execute(f"select count(distinct model_id) from cad.{table}").fetchone() == (4,), table
        assert len(parts.execute("select * from cad.search_cad('bolt', 9)").fetchall()) == 4
    finally:
        parts.execute("reset role")
        parts.execute("drop owned by buyer")
        parts.execute("drop role buyer")


def test_what_is_being_built_is_hidden_from_readers(clip: Connection, scripted: ScriptedService) -> None:
    scripted.batches_left = 1
    with pytest.raises(psycopg.Error):
        clip.execute("call cad.reembed('clip', 2)")
    clip.execute("create role buyer")
    try:
        clip.execute("select cad.grant_to('buyer', 'reader')")
        clip.execute("set role buyer")
        assert clip.execute("select count(*) from cad.space_clip").fetchone() == (0,)
        for table in ("space_clip_next", "space_clip_next_view"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                clip.execute(f"select from cad.{table}")
    finally:
        clip.execute("reset role")
        clip.execute("drop owned by buyer")
        clip.execute("drop role buyer")


# --- interrupted --------------------------------------------------------------------------------------------------


def test_a_provider_that_fails_half_way_leaves_whole_batches_and_the_next_call_goes_on(
    clip: Connection, scripted: ScriptedService
) -> None:
    scripted.batches_left = 2
    with pytest.raises(psycopg.errors.ConnectionFailure, match="the provider answered 503") as failure:
        clip.execute("call cad.reembed('clip', 2)")
    assert "call cad.reembed('clip')" in (failure.value.diag.message_hint or "")
    kept = clip.execute(
        "select count(*), min(v.views), max(v.views) from cad.space_clip_next as n, lateral"
        " (select count(*) from cad.space_clip_next_view as v where v.model_id = n.model_id) as v (views)"
    ).fetchone()
    assert kept == (4, 10, 10)
    assert clip.execute("select count(*) from cad.space_clip").fetchone() == (0,)
    assert doctor(clip, "next vectors of space clip")[0] == "warning"  # type: ignore[index]
    first = set(embedded(scripted)[:4])
    scripted.headers.clear()
    scripted.batches_left = 1000
    clip.execute("call cad.reembed('clip', 2)")
    assert len(embedded(scripted)) == 3 and not first & set(embedded(scripted))
    assert versions(clip, "space_clip") == {"clip-1": 7}


def test_a_search_goes_on_while_a_provider_is_away(parts: Connection, scripted: ScriptedService) -> None:
    part = parts.execute("select min(model_id::text) from cad.model").fetchone()
    search = "select * from cad.search_cad_like(%s, 6)"
    before = parts.execute(search, part).fetchall()
    scripted.version, scripted.batches_left = "scripted-2", 1
    with pytest.raises(psycopg.errors.ConnectionFailure):
        parts.execute("call cad.reembed('cad', 2)")
    assert parts.execute(search, part).fetchall() == before


def test_a_killed_session_is_followed_up(clip: Connection, dsn: str, scripted: ScriptedService) -> None:
    scripted.on_batch = lambda: (
        scripted.batches_left < 2
        and clip.execute(  # type: ignore[func-returns-value, assignment]
            "select pg_terminate_backend(pid) from pg_stat_activity where query like 'call cad.reembed%'"
        )
    )
    scripted.batches_left = 3
    with psycopg.connect(dsn, autocommit=True) as other, pytest.raises(psycopg.OperationalError):
        other.execute("call cad.reembed('clip', 2)")
    kept = clip.execute("select count(*) from cad.space_clip_next").fetchone()
    assert kept is not None and 0 < kept[0] < 7 and kept[0] % 2 == 0
    scripted.on_batch = lambda: None
    scripted.batches_left = 1000
    eventually(lambda: clip.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone() == (0,))
    clip.execute("call cad.reembed('clip', 2)")
    assert versions(clip, "space_clip") == {"clip-1": 7}


def test_a_cancel_lets_the_space_go(clip: Connection, dsn: str, scripted: ScriptedService) -> None:
    scripted.on_batch = lambda: clip.cancel_safe() if scripted.batches_left < 2 else None
    scripted.batches_left = 3
    with pytest.raises(psycopg.errors.QueryCanceled) as failure:
        clip.execute("call cad.reembed('clip', 1)")
    assert "call cad.reembed('clip')" in (failure.value.diag.message_hint or "")
    scripted.on_batch = lambda: None
    scripted.batches_left = 1000
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("call cad.reembed('clip')")
    assert versions(clip, "space_clip") == {"clip-1": 7}


def test_tables_of_yet_another_version_are_begun_anew(parts: Connection, scripted: ScriptedService) -> None:
    scripted.version, scripted.batches_left = "scripted-2", 2
    with pytest.raises(psycopg.errors.ConnectionFailure):
        parts.execute("call cad.reembed('cad', 2)")
    assert versions(parts, "space_cad_next") == {"scripted-2": 4}
    scripted.version = "scripted-3"
    with pytest.raises(psycopg.errors.ConnectionFailure):
        parts.execute("call cad.reembed('cad', 2)")
    assert versions(parts, "space_cad_next") == {}
    scripted.batches_left = 1000
    parts.execute("call cad.reembed('cad', 2)")
    assert versions(parts, "space_cad") == {"scripted-3": 7}


def test_a_model_that_came_back_needs_nothing(parts: Connection, scripted: ScriptedService) -> None:
    scripted.version, scripted.batches_left = "scripted-2", 2
    with pytest.raises(psycopg.errors.ConnectionFailure):
        parts.execute("call cad.reembed('cad', 2)")
    scripted.version = "scripted-1"
    parts.execute("call cad.reembed('cad')")
    assert tables(parts, "cad") == {"", "_view"}
    assert versions(parts, "space_cad") == {"scripted-1": 7}


def test_a_service_that_changes_its_model_in_the_middle_is_noticed(
    parts: Connection, scripted: ScriptedService
) -> None:
    scripted.version = "scripted-2"
    scripted.batches_left = 100

    def change() -> None:
        if scripted.batches_left == 98:
            scripted.version = "scripted-3"

    scripted.on_batch = change
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"runs scripted-3 .* began with scripted-2"):
        parts.execute("call cad.reembed('cad', 2)")
    assert versions(parts, "space_cad_next") == {"scripted-2": 2}
    parts.execute("call cad.reembed('cad', 2)")
    assert versions(parts, "space_cad") == {"scripted-3": 7}


def test_vectors_of_another_length_are_refused(clip: Connection, scripted: ScriptedService) -> None:
    usual = scripted.embed_parts
    scripted.embed_parts = lambda header, payloads: (  # type: ignore[method-assign]
        {**usual({**header, "dim": 5}, payloads)[0], "dim": 5}, usual({**header, "dim": 5}, payloads)[1],
    )  # fmt: skip
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="vectors of 5 numbers, the space has 8"):
        clip.execute("call cad.reembed('clip')")
    assert clip.execute("select count(*) from cad.space_clip_next").fetchone() == (0,)


def test_vectors_that_are_no_numbers_are_refused(clip: Connection, scripted: ScriptedService) -> None:
    usual = scripted.embed_parts
    nan = struct.pack("<f", float("nan"))

    def spoiled(header: dict[str, Any], payloads: list[bytes]) -> Any:
        reply, [body] = usual(header, payloads)
        return reply, [nan + body[4:]] if body and scripted.batches_left == 98 else [body]

    scripted.embed_parts = spoiled  # type: ignore[method-assign]
    scripted.batches_left = 100
    with pytest.raises(psycopg.DataError, match="NaN not allowed") as failure:
        clip.execute("call cad.reembed('clip', 2)")
    assert failure.value.diag.message_hint
    assert versions(clip, "space_clip_next") == {"clip-1": 2}
    clip.execute("call cad.reembed('clip', 2)")
    assert versions(clip, "space_clip") == {"clip-1": 7}


# --- beside others ------------------------------------------------------------------------------------------------


def test_what_comes_goes_and_changes_meanwhile_is_right_at_the_end(
    clip: Connection, dsn: str, scripted: ScriptedService
) -> None:
    with psycopg.connect(dsn, autocommit=True) as other:
        changes = iter([
            lambda: load(other, *(b"new %d" % number for number in range(5))),
            lambda: other.execute("delete from cad.model where name in ('part 1', 'bolt 1', 'new 1')"),
            lambda: other.execute("update cad.model set description = 'changed' where name in ('part 2', 'bolt 2')"),
            lambda: other.execute("update cad.model set family = 'bolts' where name in ('part 3', 'new 2')"),
            lambda: other.execute("update cad.model set family = 'nuts' where name = 'bolt 0'"),
        ])  # fmt: skip
        scripted.on_batch = lambda: next(changes, lambda: None)()  # type: ignore[assignment, return-value]
        clip.execute("call cad.reembed('clip', 1)")
        assert next(changes, None) is None
    rows = clip.execute(
        "select m.name, m.family = s.family, s.text_vec,"
        " cad._passage(m.name, m.description, m.description_zh, m.description_generated),"
        " s.tableoid::regclass::text like '%%bolts%%', (select count(*) from cad.space_clip_view as v"
        " where v.model_id = m.model_id) from cad.model as m left join cad.space_clip as s using (model_id) order by 1"
    ).fetchall()
    assert [name for name, *_ in rows] == [
        "bolt 0", "bolt 2", "new 0", "new 2", "new 3", "new 4", "part 0", "part 2", "part 3",
    ]  # fmt: skip
    for name, same_family, literal, text, promoted, views in rows:
        assert same_family and views == 10, name
        assert json.loads(literal) == numbers(text.encode(), 8), name
        assert promoted == (name in ("bolt 2", "part 3", "new 2")), name
    assert clip.execute("select count(*) from cad.space_clip").fetchone() == (9,)


def test_the_last_few_are_made_while_new_parts_wait(clip: Connection, dsn: str, scripted: ScriptedService) -> None:
    """A part that comes after the last look is made under the lock: here it comes while the index is built."""
    clip.execute(
        "create function pg_temp.come() returns event_trigger language plpgsql as $$ begin"
        " if not exists (select from cad.model where name = 'late') and exists ("
        "  select from pg_event_trigger_ddl_commands() as c join pg_class as i on i.oid = c.objid"
        "  join pg_am as a on a.oid = i.relam where a.amname = 'hnsw'"
        " ) then"
        " insert into cad.model (name, sha256, format, kind) values ('late', sha256('late'), 'step', 'part');"
        " end if; end $$"
    )
    clip.execute(
        "create event trigger come on ddl_command_end when tag in ('CREATE INDEX') execute function pg_temp.come()"
    )
    clip.execute("call cad.reembed('clip', 4)")
    assert embedded(scripted)[-1].startswith("late")
    assert versions(clip, "space_clip") == {"clip-1": 8}


def test_one_at_a_time(clip: Connection, dsn: str, scripted: ScriptedService) -> None:
    refused = []

    def interfere() -> None:
        scripted.on_batch = lambda: None
        with psycopg.connect(dsn, autocommit=True) as other:
            for call in ("call cad.reembed('clip')", "call cad.promote_family('unclassified')"):
                with pytest.raises(psycopg.errors.ObjectInUse, match="being made") as failure:
                    other.execute(call)
                refused.append(failure.value.diag.message_hint)

    scripted.on_batch = interfere
    clip.execute("call cad.reembed('clip', 2)")
    assert len(refused) == 2 and all(refused)
    assert versions(clip, "space_clip") == {"clip-1": 7}
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("call cad.reembed('clip')")


def found(db: Connection, part: Any) -> list[Any]:
    return db.execute("select model_id, score from cad.search_cad_like(%s, 6)", [part]).fetchall()


def test_searches_run_through_the_exchange_and_see_old_or_new(
    parts: Connection, dsn: str, scripted: ScriptedService
) -> None:
    [part] = parts.execute("select model_id from cad.model where name = 'part 1'").fetchone() or []
    old = found(parts, part)
    done, answers, failures = threading.Event(), [], []

    def search() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as session:
                while not done.is_set():
                    answers.append(found(session, part))
                answers.append(found(session, part))
        except psycopg.Error as error:
            failures.append(error)

    searchers = [threading.Thread(target=search) for _ in range(3)]
    for searcher in searchers:
        searcher.start()
    scripted.version = "scripted-2"
    parts.execute("call cad.reembed('cad', 2)")
    done.set()
    for searcher in searchers:
        searcher.join()
    new = found(parts, part)
    assert failures == []
    assert new != old
    assert {str(answer) for answer in answers} == {str(old), str(new)}


def test_a_snapshot_from_before_the_exchange_sees_the_old_vectors(
    parts: Connection, dsn: str, scripted: ScriptedService
) -> None:
    [part] = parts.execute("select model_id from cad.model where name = 'part 1'").fetchone() or []
    old = found(parts, part)
    with psycopg.connect(dsn) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.execute("select")
        scripted.version = "scripted-2"
        parts.execute("call cad.reembed('cad')")
        assert found(parts, part) != old
        assert found(session, part) == old


def test_the_exchange_waits_for_searches_at_work(parts: Connection, dsn: str, scripted: ScriptedService) -> None:
    [part] = parts.execute("select model_id from cad.model where name = 'part 1'").fetchone() or []
    scripted.version = "scripted-2"
    with psycopg.connect(dsn) as session:
        old = found(session, part)
        exchange = threading.Thread(target=lambda: parts.execute("call cad.reembed('cad')"))
        exchange.start()
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        with psycopg.connect(dsn, autocommit=True) as watcher:
            eventually(lambda: watcher.execute(waiting).fetchone() == (1,))
        assert found(session, part) == old
        session.commit()
        exchange.join()
        assert found(session, part) == found(parts, part) != old


def test_files_that_wait_for_the_old_model_are_taken_in_by_the_new_one(
    parts: Connection, scripted: ScriptedService
) -> None:
    scripted.version = "scripted-2"
    queue(parts, b"waiting")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as failure:
        parts.execute("call cad.ingest_pending()")
    assert "call cad.reembed('cad')" in (failure.value.diag.message_hint or "")
    parts.execute("call cad.reembed('cad')")
    parts.execute("call cad.ingest_pending()")
    assert versions(parts, "space_cad") == {"scripted-2": 8}
