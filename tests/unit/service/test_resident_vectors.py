"""Resident vectors against a dictionary of them: what is nearest, whatever was taken in, changed and forgotten."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pgcad.errors import CadError
from pgcad.service import resident_vectors
from pgcad.service.resident_vectors import Ids, ResidentVectors, row_bytes

DIM = 24
Held = dict[bytes, NDArray[np.float16]]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(37)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks, and several rounds of scores, for few parts."""
    for name, value in (("FEWEST_ROWS", 16), ("MOST_ROWS", 64), ("SCORES_AT_ONCE", 250), ("CPU_ROWS_AT_ONCE", 7)):
        monkeypatch.setattr(resident_vectors, name, value)


def some(rng: np.random.Generator, count: int) -> Held:
    """Parts with vectors of any length; some identities end in zeros."""
    ids = [
        bytes(part)[:15] + b"\0" if place % 3 else bytes(part)
        for place, part in enumerate(rng.bytes(16) for _ in range(count))
    ]
    return dict(zip(ids, rng.normal(size=(count, DIM)).astype(np.float16), strict=True))


def ids_of(parts: list[bytes]) -> Ids:
    return np.frombuffer(b"".join(parts), "S16")


def matrix(held: Held) -> NDArray[np.float16]:
    return np.array(list(held.values()), np.float16).reshape(-1, DIM)


def check(vectors: ResidentVectors, held: Held, rng: np.random.Generator) -> None:
    questions = rng.normal(size=(3, DIM)).astype(np.float16).astype(np.float32)
    keys, rows = list(held), matrix(held).astype(np.float32)
    counts = [1, 10, len(held) + 5]
    for question, count, found in zip(questions, counts, vectors.nearest(questions, counts), strict=True):
        cosines = rows @ question / np.linalg.norm(rows, axis=1) / np.linalg.norm(question)
        order = np.argsort(-cosines)[:count]
        assert [found.parts.tobytes()[at : at + 16] for at in range(0, 16 * len(order), 16)] == [
            keys[row] for row in order
        ]
        if count <= len(held):
            assert found.bound == pytest.approx(cosines[order[-1]], abs=1e-6)
        else:
            assert found.bound == -np.inf


def test_the_nearest_are_found_after_any_changes(rng: np.random.Generator) -> None:
    vectors, held = ResidentVectors(DIM, "cpu"), some(rng, 150)
    for start in range(0, 150, 40):
        batch = dict(list(held.items())[start : start + 40])
        vectors.append(ids_of(list(batch)), matrix(batch))
    vectors.index()
    check(vectors, held, rng)
    for _ in range(12):
        known = list(held)
        rng.shuffle(known)
        gone = [*known[:7], rng.bytes(16)]  # one that was never there
        changed = dict(zip(known[7:12], some(rng, 5).values(), strict=True)) | some(rng, int(rng.integers(14)))
        vectors.change(ids_of(list(changed)), matrix(changed), ids_of(gone))
        held = {part: vector for part, vector in held.items() if part not in gone} | changed
        assert vectors.parts == len(held)
        check(vectors, held, rng)
    back = {known[0]: held.get(known[0], some(rng, 1).popitem()[1])}  # one that was gone
    vectors.change(ids_of(list(back)), matrix(back), ids_of([]))
    check(vectors, held | back, rng)


def test_a_vector_without_direction_is_never_found(rng: np.random.Generator) -> None:
    vectors, held = ResidentVectors(DIM, "cpu"), some(rng, 20)
    vectors.append(ids_of(list(held)), matrix(held))
    vectors.index()
    first = next(iter(held))
    vectors.change(ids_of([first]), np.zeros((1, DIM), np.float16), ids_of([]))
    check(vectors, {part: vector for part, vector in held.items() if part != first}, rng)


def test_nothing_is_found_among_nothing(rng: np.random.Generator) -> None:
    vectors = ResidentVectors(DIM, "cpu")
    vectors.index()
    [found] = vectors.nearest(rng.normal(size=(1, DIM)).astype(np.float32), [5])
    assert (len(found.parts), found.bound) == (0, -np.inf)
    held = some(rng, 3)
    vectors.change(ids_of(list(held)), matrix(held), ids_of([rng.bytes(16)]))
    check(vectors, held, rng)


def test_what_parts_will_take_is_known_before(rng: np.random.Generator) -> None:
    vectors, held = ResidentVectors(DIM, "cpu"), some(rng, 100)
    expected = vectors.bytes_with(100)
    vectors.append(ids_of(list(held)), matrix(held))
    assert vectors.held_bytes == expected == 128 * row_bytes(DIM)


def test_a_full_device_is_told(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    vectors, held = ResidentVectors(DIM, "cpu"), some(rng, 5)
    monkeypatch.setattr(resident_vectors, "FEWEST_ROWS", 1 << 50)
    monkeypatch.setattr(resident_vectors, "MOST_ROWS", 1 << 50)
    with pytest.raises(CadError) as full:
        vectors.append(ids_of(list(held)), matrix(held))
    assert full.value.sqlstate == "53200"
    assert "--resident-memory-mb" in full.value.hint
