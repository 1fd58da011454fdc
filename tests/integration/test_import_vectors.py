"""`pgcad import-vectors` against a real database: what arrives, and that a bad file leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow
import pytest
from known_parts import insert, random_part
from pgcad_load.cli import app
from pyarrow import parquet
from typer.testing import CliRunner, Result

Database = psycopg.Connection[Any]


@pytest.fixture
def ids(db: Database) -> dict[str, str]:
    """Five parts with vectors in the default space; part number → model_id."""
    rng = np.random.default_rng(5)
    return insert(db, [random_part(rng, number) for number in range(5)])


@pytest.fixture
def run(dsn: str, tmp_path: Path) -> Callable[..., Result]:
    """Import vectors of these ids: `run(["A-1"], [[1, 0]], "--as", "text")`, into space `mine`."""

    def importing(names: list[str], vectors: Any, *options: str, suffix: str = "npz") -> Result:
        path = tmp_path / f"vectors.{suffix}"
        if suffix == "npz":
            np.savez(path, ids=np.array(names), vectors=np.array(vectors, np.float32))
        else:
            parquet.write_table(pyarrow.table({"id": names, "vector": vectors}), path)
        return CliRunner().invoke(app, ["import-vectors", str(path), "--space", "mine", *options, "--dsn", dsn])

    return importing


def stored(db: Database, *columns: str) -> dict[str, Any]:
    """Part number → these vectors of it in space `mine`."""
    rows = db.execute(
        f"select m.part_number, {', '.join(f's.{c}_vec' for c in columns)} from cad.space_mine as s"
        " join cad.model as m on m.model_id = s.model_id and m.family = s.family"
    )
    return {number: [v if v is None else json.loads(v) for v in vectors] for number, *vectors in rows.fetchall()}


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_one_vector_each_by_number_and_by_model_id(
    db: Database, ids: dict[str, str], run: Callable[..., Result], suffix: str
) -> None:
    first, second, *_ = ids
    result = run([first, ids[second].upper()], [[3.0, 4.0], [0.0, 2.0]], "--create", suffix=suffix)
    assert result.exit_code == 0, result.output
    assert result.output == "2 parts: 2 new in the space, 0 replaced\n"
    assert stored(db, "fused", "image") == {
        first: [pytest.approx([0.6, 0.8], abs=1e-3), None],
        second: [pytest.approx([0, 1], abs=1e-3), None],
    }
    found = db.execute("select part_number, score from cad.search_cad_vector('mine', '[0, 7]', 2)").fetchall()
    assert found == [(second, pytest.approx(1, abs=1e-3)), (first, pytest.approx(0.8, abs=1e-3))]
    like = 'select part_number from cad.search_cad_like(%s, 1, options => \'{"space": "mine"}\')'
    assert db.execute(like, [ids[first]]).fetchone() == (second,)


def test_many_vectors_of_a_part_are_its_views(db: Database, ids: dict[str, str], run: Callable[..., Result]) -> None:
    first, second, *_ = ids
    result = run([first, second, first], [[1, 0, 0], [0, 0, 1], [0, 1, 0]], "--create")
    assert result.output == "2 parts: 2 new in the space, 0 replaced; 2 vectors of views\n"
    half = pytest.approx([0.7071, 0.7071, 0], abs=1e-3)
    assert stored(db, "fused", "image") == {first: [half, half], second: [pytest.approx([0, 0, 1]), None]}
    views = db.execute("select model_id::text, view, vec::text from cad.space_mine_view order by view").fetchall()
    assert views == [(ids[first], 0, "[1,0,0]"), (ids[first], 1, "[0,1,0]")]
    best = db.execute("select part_number, image_score from cad.search_cad_vector('mine', '[0, 1, 0]', 1)").fetchone()
    assert best == (first, pytest.approx(1, abs=1e-3))

    assert run([first], [[0, 1, 0]]).output == "1 parts: 0 new in the space, 1 replaced\n"
    assert stored(db, "fused", "image")[first] == [pytest.approx([0, 1, 0]), None]
    assert db.execute("select count(*) from cad.space_mine_view").fetchone() == (0,)


def test_vectors_of_one_kind_leave_the_others(db: Database, ids: dict[str, str], run: Callable[..., Result]) -> None:
    [part, *_] = ids
    assert run([part], [[1, 0, 0]], "--create", "--as", "text").exit_code == 0
    assert run([part], [[0, 1, 0]], "--as", "shape").exit_code == 0
    east_north = pytest.approx([0.7071, 0.7071, 0], abs=1e-3)
    assert stored(db, "text", "shape", "image", "fused")[part] == [[1, 0, 0], [0, 1, 0], None, east_north]
    assert run([part, part], [[0, 1, 0], [0, 0, 1]], "--as", "image").exit_code == 0
    assert stored(db, "text", "image")[part] == [[1, 0, 0], pytest.approx([0, 0.7071, 0.7071], abs=1e-3)]
    assert run([part], [[0, 0, 1]], "--as", "brep").exit_code == 0
    assert stored(db, "shape", "brep")[part] == [[0, 1, 0], [0, 0, 1]]
    assert run([part], [[0, 0, 1]], "--as", "fused").exit_code == 0
    assert stored(db, "text", "shape", "fused")[part] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert db.execute("select count(*) from cad.space_mine_view").fetchone() == (2,)


@pytest.mark.parametrize(
    ("names", "vectors", "options", "message"),
    [
        (["FIRST", "nope", "42"], np.eye(3), [], "no part has this model_id or part number: nope, 42"),
        (["00000000-0000-0000-0000-000000000000"], [[1, 0, 0]], [], "00000000-0000-0000-0000-000000000000"),
        (["FIRST", "TWIN"], np.eye(2, 3), [], "part numbers of several parts: TWIN; give their model_id"),
        (["FIRST", "FIRST ID"], np.eye(2, 3), [], "one part under several ids: FIRST = FIRST ID"),
        (["FIRST", "FIRST"], np.ones((2, 3)), [], "the same vector more than once for one part: FIRST"),
        (
            ["FIRST", "FIRST"],
            np.eye(2, 3),
            ["--as", "text"],
            "more than one vector for FIRST: a part has one text vector",
        ),
        (["FIRST", "FIRST"], [[1, 0, 0], [-1, 0, 0]], [], "the vectors of FIRST cancel out"),
        (["FIRST"], [[1, 0]], [], "have 2 numbers, space mine takes 3"),
        (["FIRST", "SECOND"], [[1, 0, 0], [float("nan"), 0, 0]], [], "no finite numbers, at SECOND"),
        (["FIRST"], [[0, 0, 0]], [], "a vector of length 0"),
    ],
)
def test_a_bad_file_leaves_nothing_and_a_mended_one_goes_in(
    db: Database, ids: dict[str, str], run: Callable[..., Result], names: list[str], vectors: Any, options: list[str],
    message: str,
) -> None:  # fmt: skip
    first, second, third, fourth, _ = ids
    db.execute("update cad.model set part_number = 'TWIN' where part_number in (%s, %s)", [third, fourth])
    real = {"FIRST": first, "SECOND": second, "FIRST ID": ids[first]}
    assert run([second], [[0, 1, 0]], "--create").exit_code == 0
    before = stored(db, "fused", "text", "image")
    result = run([real.get(name, name) for name in names], vectors, *options)
    assert result.exit_code == 1
    for name, part in real.items():
        message = message.replace(name, part)
    assert message.replace(f"{first} ID", ids[first]) in result.output
    assert stored(db, "fused", "text", "image") == before
    assert run([first], [[1, 0, 0]]).output == "1 parts: 1 new in the space, 0 replaced\n"


def test_a_space_must_be_there_and_be_external(db: Database, ids: dict[str, str], run: Callable[..., Result]) -> None:
    [part, *_] = ids
    result = run([part], [[1, 0]])
    assert result.exit_code == 1 and "there is no space mine: give --create" in result.output
    db.execute("select cad.add_space('mine', 512, 'native', '{\"tower\": \"brep\"}')")
    result = run([part], [[1, 0]])
    assert result.exit_code == 1 and "made by its encoder (native): call cad.reembed" in result.output
    assert db.execute("select count(*) from cad.space_mine").fetchone() == (0,)


def test_a_failing_create_leaves_no_space(db: Database, ids: dict[str, str], run: Callable[..., Result]) -> None:
    assert run(["nope"], [[1, 0]], "--create").exit_code == 1
    assert db.execute("select name from cad.space").fetchall() == [("cad",)]


def test_pgvector_may_live_elsewhere(db: Database, ids: dict[str, str], run: Callable[..., Result]) -> None:
    [part, *_] = ids
    db.execute("create schema elsewhere")
    db.execute("alter extension vector set schema elsewhere")
    result = run([part], [[1, 0]], "--as", "text")
    assert "there is no space mine" in result.output  # it saw the types, and came as far as the space


def test_an_admin_is_enough(db: Database, dsn: str, ids: dict[str, str], run: Callable[..., Result]) -> None:
    db.execute("create role curator login")
    try:
        db.execute("select cad.grant_to('curator', 'admin')")
        db.execute(f"alter database {db.info.dbname} set role = 'curator'")
        [part, *_] = ids
        for options in (["--create"], [], ["--as", "image"]):
            assert run([part], [[1, 0]], *options).exit_code == 0
    finally:
        db.execute(f"alter database {db.info.dbname} reset role")
        db.execute("drop owned by curator")
        db.execute("drop role curator")
