"""The queue: files become parts, aliases or failures with a reason, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from service_doubles.scripted import ScriptedService, vector

Connection = psycopg.Connection[Any]


def queue(db: Connection, *contents: bytes, **metadata: Any) -> list[int]:
    """Put files into the queue, named after their order."""
    ids = []
    for number, content in enumerate(contents):
        row = db.execute(
            "insert into cad.ingest (source_uri, format, content, metadata) values (%s, 'step', %s, %s)"
            " returning ingest_id",
            [f"/parts/file {number}.step", content, Jsonb(metadata)],
        ).fetchone()
        assert row is not None
        ids.append(row[0])
    return ids


def checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def states(db: Connection) -> list[tuple[Any, ...]]:
    return db.execute("select state, outcome, last_sqlstate from cad.ingest order by ingest_id").fetchall()


def count(db: Connection, table: str) -> int:
    row = db.execute(f"select count(*) from cad.{table}").fetchone()
    assert row is not None
    return int(row[0])


def test_a_file_becomes_a_part_with_files_views_and_vectors(db: Connection, scripted: ScriptedService) -> None:
    queue(
        db, b"a bolt", part_number="B-1", name="Bolt", name_zh="螺栓", family="bolts", tags=["steel", "M8"],
        density_kg_m3=7850, supplier="ACME",
    )  # fmt: skip
    db.execute("call cad.ingest_pending()")
    part = db.execute(
        """
        select part_number, name, family, tags, mass_kg, size_mm, box_mm::text, description, description_generated,
            genome, source_uri, octet_length(sha256), 'bolt' = any(tsvector_to_array(lexemes))
        from cad.model
        """
    ).fetchone()
    assert part == (
        "B-1", "Bolt", "bolts", ["steel", "M8"], pytest.approx(6000e-9 * 7850), [10, 20, 30], "(0, 0, 0),(10, 20, 30)",
        "a box", True, {"names": ["box"], "colours": ["#808080"], "metadata": {"supplier": "ACME"}},
        "/parts/file 0.step", 32, True,
    )  # fmt: skip
    artifacts = dict(db.execute("select role, content from cad.artifact").fetchall())
    made = {role: role.encode() for role in ("mesh", "points", "silhouettes", "thumbnail")}
    assert artifacts == {"original": b"a bolt", **made}
    views = db.execute("select view, png from cad.view order by view").fetchall()
    assert views == [(view, b"view %d" % view) for view in range(10)]
    assert states(db) == [("done", "new", None)]
    assert db.execute("select content from cad.ingest").fetchone() == (None,)
    assert db.execute("select encoder_version from cad.space where name = 'cad'").fetchone() == ("scripted-1",)


def test_vectors_arrive_in_their_columns(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"brep bolt")
    db.execute("call cad.ingest_pending()")
    stored = db.execute("select text_vec, image_vec, shape_vec, brep_vec, fused_vec from cad.space_cad").fetchone()
    views = db.execute("select vec from cad.view order by view").fetchall()
    assert stored is not None
    for row, literal in enumerate([*stored, *(view for (view,) in views)]):
        expected = struct.unpack("<512f", vector(b"%dbrep bolt" % row))
        assert json.loads(literal) == pytest.approx(expected, abs=1e-3)


def test_a_part_without_exact_faces_has_no_vector_of_them(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"a mesh")
    db.execute("call cad.ingest_pending()")
    assert db.execute("select brep_vec is null, shape_vec is null from cad.space_cad").fetchone() == (True, False)


def test_the_analysis_is_told_the_name_of_the_file(db: Connection, scripted: ScriptedService) -> None:
    """It is the last resort for a name, and nothing that is kept."""
    queue(db, b"nameless")
    db.execute("call cad.ingest_pending()")
    assert db.execute("select name, family, genome ? 'metadata' from cad.model").fetchone() == (
        "file 0", "unclassified", False,
    )  # fmt: skip
    assert db.execute("select metadata from cad.ingest").fetchone() == ({},)


def test_what_users_give_beyond_the_known_keys_is_kept_as_it_is(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"a bolt", supplier={"name": "ACME", "phone": None})
    db.execute("call cad.ingest_pending()")
    assert db.execute("select genome -> 'metadata' from cad.model").fetchone() == (
        {"supplier": {"name": "ACME", "phone": None}},
    )


def test_texts_are_cleaned(db: Connection, scripted: ScriptedService) -> None:
    dirty, clean = "\x1b[31mM8\u202e\t\u00a0bolt\x07\r\n", "[31mM8 bolt"
    queue(
        db, b"a bolt", part_number=dirty, revision=dirty, name_zh=dirty, family=dirty, material=dirty,
        tags=[dirty, "\x07", "ok"], name="bolt",
    )  # fmt: skip
    db.execute(
        "insert into cad.ingest (source_uri, format, content, metadata) values (%s, 'step', 'a bolt', %s)",
        ["/x/\x1btwin.step", Jsonb({"part_number": f"2 {dirty}"})],
    )
    db.execute("call cad.ingest_pending()")
    assert db.execute(
        "select part_number, revision, name_zh, family, material, tags, aliases from cad.model"
    ).fetchone() == (clean, clean, clean, clean, clean, [clean, "ok"], [f"2 {clean}", "twin"])


def test_the_same_bytes_under_another_name_are_an_alias(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"twin", name="First")
    db.execute("call cad.ingest_pending()")
    db.execute(
        "insert into cad.ingest (source_uri, format, content, metadata)"
        " values ('/other/second.step', 'step', 'twin', '{\"part_number\": \"P-2\", \"name\": \"First\"}')"
    )
    db.execute("call cad.ingest_pending()")
    assert db.execute("select name, aliases from cad.model").fetchall() == [("First", ["P-2", "second"])]
    assert states(db) == [("done", "new", None), ("done", "duplicate", None)]
    assert scripted.analysed == [b"twin"]
    assert db.execute("select 'second' = any(tsvector_to_array(lexemes)) from cad.model").fetchone() == (True,)


def test_twins_in_one_batch_are_one_part(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"twin", b"twin", b"other")
    db.execute("call cad.ingest_pending()")
    assert sorted(states(db)) == [("done", "duplicate", None), ("done", "new", None), ("done", "new", None)]
    assert count(db, "model") == 2


@pytest.mark.parametrize("sqlstate", ["22023", "53200", "54000", "57014", "58000", "0A000", "XX000"])
def test_a_bad_file_fails_alone_with_its_reason(db: Connection, scripted: ScriptedService, sqlstate: str) -> None:
    queue(db, b"good", f"fail {sqlstate}".encode(), b"also good")
    db.execute("call cad.ingest_pending()")
    assert states(db) == [("done", "new", None), ("failed", None, sqlstate), ("done", "new", None)]
    failed = db.execute("select last_error, attempts, content from cad.ingest where state = 'failed'").fetchone()
    assert failed == ("this file is refused Send another.", 1, f"fail {sqlstate}".encode())


@pytest.mark.parametrize(
    ("metadata", "sqlstate"),
    [
        ({"tags": "not a list"}, "22P02"),
        ({"mass_kg": "heavy"}, "22P02"),
        ({"part_number": random.Random(0).randbytes(4000).hex()}, "54000"),
    ],
)
def test_bad_metadata_fails_the_row_alone(
    db: Connection, scripted: ScriptedService, metadata: dict[str, Any], sqlstate: str
) -> None:
    queue(db, b"bad metadata", **metadata)
    db.execute("insert into cad.ingest (source_uri, format, content) values ('good', 'step', 'good')")
    db.execute("call cad.ingest_pending()")
    assert states(db) == [("failed", None, sqlstate), ("done", "new", None)]
    assert count(db, "artifact") == 5


def test_failed_files_can_be_tried_again(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"fail 58000", b"fail 22023")
    db.execute("call cad.ingest_pending()")
    assert db.execute("select cad.retry_failed(array['58000'])").fetchone() == (1,)
    assert states(db) == [("pending", None, "58000"), ("failed", None, "22023")]
    db.execute("call cad.ingest_pending()")
    assert db.execute("select attempts from cad.ingest order by ingest_id").fetchall() == [(2,), (1,)]


@pytest.mark.parametrize("content", [b"nan report", b"nan vector"])
def test_an_answer_that_cannot_be_converted_fails_the_row_alone(
    db: Connection, scripted: ScriptedService, content: bytes
) -> None:
    queue(db, b"good", content, b"also good")
    db.execute("call cad.ingest_pending()")
    [good, bad, also_good] = states(db)
    assert good == also_good == ("done", "new", None)
    assert bad[0] == "failed"
    assert bad[2].startswith("22")


@pytest.mark.parametrize(("content", "sqlstate"), [(b"drop", "08006"), (b"hang", "57014"), (b"fail 08P01", "08P01")])
def test_a_file_that_breaks_the_service_does_not_block_the_queue(
    db: Connection, scripted: ScriptedService, content: bytes, sqlstate: str
) -> None:
    """It comes after the others, and fails when it has been lost with a batch three times and once alone."""
    others = [b"part %d" % number for number in range(6)]
    queue(db, content, *others)
    db.execute("set pgcad.ingest_timeout_ms = 300")
    for attempts in (1, 2, 3):
        with pytest.raises(psycopg.Error) as failure:
            db.execute("call cad.ingest_pending(batch_size => 3)")
        assert failure.value.sqlstate == sqlstate
        assert db.execute("select state, attempts from cad.ingest where content = %s", [content]).fetchone() == (
            "pending", attempts,
        )  # fmt: skip
    db.execute("call cad.ingest_pending(batch_size => 3)")
    assert db.execute("select count(*) from cad.ingest where state = 'done'").fetchone() == (6,)
    assert db.execute(
        "select state, attempts, last_sqlstate, last_error <> '' from cad.ingest where content = %s", [content]
    ).fetchone() == ("failed", 4, sqlstate, True)


def test_files_that_were_lost_with_another_are_not_blamed(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"hang", b"good", b"also good")
    db.execute("update cad.ingest set attempts = 3")
    db.execute("set pgcad.ingest_timeout_ms = 300")
    db.execute("call cad.ingest_pending()")
    assert states(db) == [("failed", None, "57014"), ("done", "new", None), ("done", "new", None)]


def test_time_is_counted_from_when_a_file_was_sent(db: Connection, scripted: ScriptedService) -> None:
    slow = min((b"slow %d" % number for number in range(20)), key=checksum)
    large = sorted((b"%d" % number + bytes(2**20) for number in range(20)), key=checksum)[-2:]
    queue(db, slow, *large)  # in the order in which they are sent; the last when the service has taken the others
    db.execute("call cad.ingest_pending()")
    [slow_ms, _, large_ms] = (row[0] for row in db.execute("select elapsed_ms from cad.ingest order by ingest_id"))
    assert slow_ms >= 500
    assert large_ms < slow_ms


def test_time_is_kept_of_failures_too(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"fail 22023", b"good", b"good")
    db.execute("call cad.ingest_pending()")
    assert db.execute("select state, outcome, elapsed_ms > 0 from cad.ingest order by ingest_id").fetchall() == [
        ("failed", None, True), ("done", "new", True), ("done", "duplicate", True),
    ]  # fmt: skip


@pytest.mark.parametrize(("content", "sqlstate"), [(b"drop", "08006"), (b"hang", "57014"), (b"fail 08P01", "08P01")])
def test_a_failing_service_leaves_files_pending(
    db: Connection, scripted: ScriptedService, content: bytes, sqlstate: str
) -> None:
    queue(db, b"before", content)
    db.execute("set pgcad.ingest_timeout_ms = 300")
    with pytest.raises(psycopg.Error) as failure:
        db.execute("call cad.ingest_pending(batch_size => 1)")
    assert failure.value.sqlstate == sqlstate
    assert "Nothing is lost" in (failure.value.diag.message_hint or "")
    assert states(db) == [("done", "new", None), ("pending", None, None)]


def test_a_full_disk_leaves_files_pending(db: Connection, scripted: ScriptedService) -> None:
    db.execute(
        "create function full_disk() returns trigger language plpgsql as "
        "$$ begin raise 'No space left on device' using errcode = 'disk_full'; end $$"
    )
    db.execute("create trigger full_disk before insert on cad.artifact execute function full_disk()")
    queue(db, b"a", b"b")
    with pytest.raises(psycopg.errors.DiskFull, match="No space left on device") as failure:
        db.execute("call cad.ingest_pending()")
    assert "Make room" in (failure.value.diag.message_hint or "")
    assert states(db) == [("pending", None, None)] * 2
    assert count(db, "model") == 0
    db.execute("drop trigger full_disk on cad.artifact")
    db.execute("call cad.ingest_pending()")
    assert states(db) == [("done", "new", None)] * 2


def test_an_absent_service_loses_nothing(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"a", b"b")
    scripted.close()
    with pytest.raises(psycopg.OperationalError, match="cannot reach the encoder service") as failure:
        db.execute("call cad.ingest_pending()")
    assert failure.value.sqlstate == "08001"
    assert states(db) == [("pending", None, None)] * 2
    assert db.execute("select max(attempts) from cad.ingest").fetchone() == (0,)


def test_a_full_queue_is_waited_for(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"full 2", b"other")
    db.execute("call cad.ingest_pending()")
    assert states(db) == [("done", "new", None)] * 2
    assert scripted.analysed.count(b"other") == 1


def test_another_encoder_is_refused(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"first")
    db.execute("call cad.ingest_pending()")
    scripted.version = "scripted-2"
    db.execute("insert into cad.ingest (source_uri, format, content) values ('second', 'step', 'second')")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"runs scripted-2.*made by scripted-1"):
        db.execute("call cad.ingest_pending()")
    assert states(db) == [("done", "new", None), ("pending", None, None)]


def test_max_rows_stops_in_time(db: Connection, scripted: ScriptedService) -> None:
    queue(db, *(b"part %d" % number for number in range(5)))
    db.execute("call cad.ingest_pending(3, 2)")
    assert [state for state, *_ in states(db)] == ["done"] * 3 + ["pending"] * 2
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute("call cad.ingest_pending(batch_size => 0)")


def test_sessions_share_the_queue(db: Connection, dsn: str, scripted: ScriptedService) -> None:
    """Two sessions, a queue full of twins: every file is done once, every content is one part."""
    queue(db, *(b"part %d" % (number % 20) for number in range(60)))

    def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("call cad.ingest_pending(batch_size => 4)")

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work), pool.submit(work)]:
            done.result()
    assert count(db, "model") == 20
    assert db.execute("select outcome, count(*) from cad.ingest group by 1 order by 1").fetchall() == [
        ("duplicate", 40), ("new", 20),
    ]  # fmt: skip


def test_a_statement_timeout_ends_the_wait(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"hang")
    db.execute("set statement_timeout = 200")
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        db.execute("call cad.ingest_pending()")
    db.execute("reset statement_timeout")
    assert states(db) == [("pending", None, None)]


def test_a_new_family_takes_the_vectors_along(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"a", b"b", family="bolts")
    db.execute("call cad.ingest_pending()")
    db.execute("call cad.promote_family('bolts')")
    db.execute("update cad.model set family = 'nuts' where source_uri = '/parts/file 0.step'")
    assert db.execute(
        "select tableoid = 'cad.space_cad_default'::regclass, family from cad.space_cad order by family"
    ).fetchall() == [(False, "bolts"), (True, "nuts")]


def test_the_same_file_cannot_be_queued_twice(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"once")
    db.execute("call cad.ingest_pending()")
    with pytest.raises(psycopg.errors.UniqueViolation):
        queue(db, b"once")


def test_the_file_of_a_deleted_part_can_be_loaded_again(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"once", b"once")
    db.execute("call cad.ingest_pending()")
    db.execute("delete from cad.model")
    assert count(db, "ingest") == 0
    queue(db, b"once")
    db.execute("call cad.ingest_pending()")
    assert count(db, "model") == 1


@pytest.mark.parametrize("procedure", ["cad.ingest_pending()", "cad.promote_family('bolts')", "cad.reembed('cad')"])
def test_a_transaction_block_is_refused_before_any_work(
    db: Connection, scripted: ScriptedService, procedure: str
) -> None:
    queue(db, b"a bolt", family="bolts")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction) as failure, db.transaction():
        db.execute(f"call {procedure}")
    assert failure.value.diag.message_hint
    assert scripted.analysed == []


def test_a_load_keeps_the_statistics_of_words(db: Connection, scripted: ScriptedService) -> None:
    """A loader, who does not own the table, leaves it analysed; a few parts more do not analyse it anew."""
    queue(db, *(b"part %d" % number for number in range(100)), name="bolt")
    db.execute("create role filler")
    try:
        db.execute("select cad.grant_to('filler', 'loader')")
        db.execute("set role filler")
        db.execute("call cad.ingest_pending()")
        db.execute("reset role")
        analysed = "select reltuples from pg_class where oid = 'cad.model'::regclass"
        assert db.execute(analysed).fetchone() == (100,)
        db.execute("insert into cad.ingest (source_uri, format, content) values ('one more', 'step', 'one more')")
        db.execute("call cad.ingest_pending()")
        assert db.execute(analysed).fetchone() == (100,)
    finally:
        db.execute("reset role")
        db.execute("drop owned by filler")
        db.execute("drop role filler")


def test_zeros_are_no_text(db: Connection, scripted: ScriptedService) -> None:
    queue(db, b"no text", b"a bolt")
    db.execute("call cad.ingest_pending()")
    found = db.execute(
        "select sha256, text_vec is null, fused_vec is null from cad.space_cad inner join cad.model using (model_id)"
    )
    assert set(found.fetchall()) == {(checksum(b"no text"), True, False), (checksum(b"a bolt"), False, False)}
