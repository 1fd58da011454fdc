"""Files of vectors: what is read, and that anything else is refused with what is wrong and where."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pgcad_load.vector_file import VectorFileError, checked, listed, read
from pyarrow import parquet

NAN, INF = float("nan"), float("inf")


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "v.npz", **arrays)
    return path / "v.npz"


def parquet_file(path: Path, **columns: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), path / "v.parquet")
    return path / "v.parquet"


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8])
def test_an_npz_file_is_read_at_unit_length(tmp_path: Path, kind: Any) -> None:
    file = read(npz(tmp_path, ids=np.array(["A-1", "螺栓"]), vectors=np.array([[3, 4], [0, 2]], kind)))
    assert (file.ids, file.dim) == (("A-1", "螺栓"), 2)
    np.testing.assert_allclose(file.vectors, [[0.6, 0.8], [0, 1]], rtol=1e-6)


def test_ids_may_be_bytes_or_numbers(tmp_path: Path) -> None:
    assert read(npz(tmp_path, ids=np.array([b"A", "螺".encode()]), vectors=np.eye(2))).ids == ("A", "螺")
    assert read(npz(tmp_path, ids=np.array([4711, 12]), vectors=np.eye(2))).ids == ("4711", "12")


def test_a_parquet_file_is_read_the_same(tmp_path: Path) -> None:
    file = read(parquet_file(tmp_path, id=["A-1", "螺栓"], vector=[[3.0, 4.0], [0.0, 2.0]]))
    assert file.ids == ("A-1", "螺栓")
    np.testing.assert_allclose(file.vectors, [[0.6, 0.8], [0, 1]], rtol=1e-6)


@pytest.mark.parametrize("length", [1e-300, 1e-30, 1e30, 1e300])
def test_vectors_of_any_length_become_unit_length(length: float) -> None:
    assert checked(["a"], np.array([[3 * length, 4 * length]])).vectors[0] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "b"], [[1, 2]], "2 ids for 1 vectors"),
        (["a"], [1, 2], "must be an n x d array"),
        (["a"], [["x", "y"]], "must be an n x d array"),
        ([], np.zeros((0, 3)), "no vectors"),
        (["a"], np.zeros((1, 0)), "no vectors"),
        (["a", "b", "c"], [[1, 2], [NAN, 1], [1, INF]], "no finite numbers, at b, c"),
        (["a", "b"], [[1, 2], [0, 0]], "length 0.* at b"),
        (["a", " "], [[1, 2], [2, 1]], "an empty id, at row 2"),
        (["a", "b", "a"], [[1, 2], [2, 1], [2, 4]], "same vector more than once for one part: a"),
    ],
)
def test_what_is_no_set_of_directions_is_refused(ids: list[str], vectors: Any, message: str) -> None:
    with pytest.raises(VectorFileError, match=message):
        checked(ids, np.array(vectors))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("a,1,2")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 and nothing more")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing more")
    for name, message in {
        "v.csv": "neither",
        "bad.npz": "no npz",
        "empty.npz": "no npz",
        "bad.parquet": "no Parq",
    }.items():
        with pytest.raises(VectorFileError, match=message):
            read(tmp_path / name)


def test_missing_names_are_named(tmp_path: Path) -> None:
    with pytest.raises(VectorFileError, match="no array ids and no array vectors"):
        read(npz(tmp_path, x=np.eye(2)))
    with pytest.raises(VectorFileError, match="no column vector"):
        read(parquet_file(tmp_path, id=["a"]))


def test_an_array_of_objects_is_not_unpacked(tmp_path: Path) -> None:
    """Unpacking them would run what the file says."""
    with pytest.raises(VectorFileError, match="pickle"):
        read(npz(tmp_path, ids=np.array(["a", None], object), vectors=np.eye(2)))


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", None], [[1.0], [2.0]], "no id, at row 2"),
        (["a", "b"], [[1.0], None], "no vector, at b"),
        (["a", "b"], [[1.0], [None]], "no vector, at b"),
        (["a", "b", "c"], [[1.0, 2.0], [1.0], [2.0, 1.0]], "not of 2 numbers as the others, at b"),
        ([], pyarrow.array([], pyarrow.list_(pyarrow.float32())), "no vectors"),
    ],
)
def test_holes_in_a_parquet_file_are_named(tmp_path: Path, ids: Any, vectors: Any, message: str) -> None:
    with pytest.raises(VectorFileError, match=message):
        read(parquet_file(tmp_path, id=pyarrow.array(ids, pyarrow.string()), vector=vectors))


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet_file(tmp_path, id=["a"], vector=[[1.0]])
    real = builtins.__import__

    def without_pyarrow(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(VectorFileError, match=r"pgcad\[parquet\]"):
        read(path)


def test_long_lists_are_cut() -> None:
    assert listed(str(number) for number in [*range(12), 0, 1]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
