"""Files of vectors made elsewhere: npz with arrays `ids` and `vectors`, Parquet with columns `id` and `vector`."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
SHOWN = 10


class VectorFileError(Exception):
    """The file cannot be imported; the message says what is wrong with it and what to do."""


@dataclass(frozen=True)
class VectorFile:
    """Row i of `vectors` (n, dim), unit length, belongs to the part `ids[i]`: a model_id or a part number."""

    ids: tuple[str, ...]
    vectors: Matrix

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])


def read(path: Path) -> VectorFile:
    """Read and check a file. Raises VectorFileError."""
    readers = {".npz": _read_npz, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise VectorFileError(f"{path.name} is neither .npz nor .parquet")
    ids, vectors = readers[path.suffix.lower()](path)
    return checked(ids, vectors)


def checked(ids: Sequence[str], vectors: NDArray[np.generic]) -> VectorFile:
    """The vectors at unit length. Raises VectorFileError for anything that is no direction."""
    if not ids or not vectors.size:
        raise VectorFileError("the file holds no vectors")
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise VectorFileError(
            f"`vectors` must be an n x d array of numbers; this one is {vectors.dtype}{vectors.shape}"
        )
    if len(ids) != len(vectors):
        raise VectorFileError(f"{len(ids)} ids for {len(vectors)} vectors: one id per vector is needed")
    numbers = vectors.astype(np.float64)
    _refuse("no finite numbers, at", ids, np.logical_not(np.isfinite(numbers).all(axis=1)))
    largest = np.abs(numbers).max(axis=1, keepdims=True)
    _refuse("a vector of length 0, which has no direction, at", ids, largest[:, 0] == 0)
    numbers /= largest  # so that no square is too large or too small
    numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    _refuse("an empty id, at row", list(map(str, range(1, len(ids) + 1))), np.array([not name.strip() for name in ids]))
    repeated = [name for (name, _), times in Counter(zip(ids, map(bytes, numbers), strict=True)).items() if times > 1]
    if repeated:
        raise VectorFileError(f"the same vector more than once for one part: {listed(repeated)}")
    return VectorFile(tuple(ids), numbers.astype(np.float32))


def listed(names: Iterable[str]) -> str:
    """The first names, and how many there are."""
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - SHOWN} more" if len(unique) > SHOWN else ""
    return ", ".join(unique[:SHOWN]) + more


def _refuse(what: str, ids: Sequence[str], wrong: NDArray[np.bool_]) -> None:
    if wrong.any():
        raise VectorFileError(f"{what} {listed(name for name, bad in zip(ids, wrong, strict=True) if bad)}")


def _read_npz(path: Path) -> tuple[list[str], NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = {"ids", "vectors"} - set(arrays.files)
            if missing:
                raise VectorFileError(f"{path.name} has no array {' and no array '.join(sorted(missing))}")
            ids, vectors = arrays["ids"], arrays["vectors"]
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise VectorFileError(f"{path.name} is no npz file of numbers and strings: {error}") from error
    if ids.ndim != 1 or ids.dtype.kind not in "USiu":
        raise VectorFileError(f"`ids` must be a list of strings; this one is {ids.dtype}{ids.shape}")
    try:
        texts = ids.astype(str) if ids.dtype.kind != "S" else np.char.decode(ids, "utf-8")
    except UnicodeDecodeError as error:
        raise VectorFileError(f"`ids` are not UTF-8: {error}") from error
    return [str(name) for name in texts], vectors


def _read_parquet(path: Path) -> tuple[list[str], NDArray[np.generic]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise VectorFileError(
            "reading Parquet needs pyarrow: pip install 'pgcad[parquet]', or save the vectors as npz"
        ) from error
    try:
        table = parquet.read_table(path)
    except ArrowException as error:
        raise VectorFileError(f"{path.name} is no Parquet file: {error}") from error
    missing = {"id", "vector"} - set(table.column_names)
    if missing:
        raise VectorFileError(f"{path.name} has no column {' and no column '.join(sorted(missing))}")
    ids, rows = table.column("id").to_pylist(), table.column("vector").to_pylist()
    _refuse("no id, at row", list(map(str, range(1, len(ids) + 1))), np.array([name is None for name in ids], bool))
    names = [str(name) for name in ids]
    _refuse("no vector, at", names, np.array([row is None or None in row for row in rows], bool))
    lengths = Counter(map(len, rows))
    if len(lengths) > 1:
        [(usual, _), *_] = lengths.most_common()
        _refuse(f"vectors not of {usual} numbers as the others, at", names, np.array([len(r) != usual for r in rows]))
    return names, np.array(rows)
