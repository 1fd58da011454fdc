"""Vectors of a space in the memory of a device, all of them compared with a question: exact, and quick on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pgcad.errors import CadError

Ids = NDArray[np.bytes_]
"""Parts, 16 bytes each (dtype S16)."""

FEWEST_ROWS, MOST_ROWS = 1 << 10, 1 << 20
"""A block has as many rows as all before it, within these bounds: little memory is wasted, and blocks are few."""
SCORES_AT_ONCE = 1 << 26
"""So many pairs of a question and a row are scored (256 MiB) before the best are chosen."""
CPU_ROWS_AT_ONCE = 1 << 10
"""A CPU multiplies in float32: so many rows at a time, whose copy stays in its caches."""


@dataclass(frozen=True)
class Nearest:
    """What was found for one question, nearest first."""

    parts: Ids
    bound: float
    """The least of their cosines: no other part that is held has a greater one. -inf where there are no others."""


@dataclass(frozen=True)
class _Block:
    """Rows from number `first` on. The score of a row is its inner product with a question, times scale, plus shift."""

    first: int
    vectors: torch.Tensor  # float16 (rows, dim)
    scale: torch.Tensor  # float32 (rows,): 1 / length
    shift: torch.Tensor  # float32 (rows,): 0, or -inf where the row holds nothing that has a direction


class ResidentVectors:
    """The vectors of parts as float16, in blocks on one device."""

    def __init__(self, dim: int, device: str) -> None:
        self.dim, self._device = dim, torch.device(device)
        self._blocks: list[_Block] = []
        self._ids: Ids = np.empty(0, "S16")  # of each row
        self._rows, self._capacity = 0, 0
        self._loaded, self._order = self._ids, np.empty(0, np.int64)
        self._places: dict[bytes, int | None] = {}  # where they are no longer those of the loading
        self._free: list[int] = []

    @property
    def parts(self) -> int:
        """How many are held."""
        return self._rows - len(self._free)

    @property
    def held_bytes(self) -> int:
        return self._capacity * row_bytes(self.dim)

    def bytes_with(self, more: int) -> int:
        """How many bytes will be held once so many parts have been added."""
        capacity = self._capacity
        while capacity < self._rows + more - len(self._free):
            capacity += _block_rows(capacity)
        return capacity * row_bytes(self.dim)

    def append(self, ids: Ids, vectors: NDArray[np.float16]) -> None:
        """Take in parts that are not held yet, vectors (n, dim). Raises CadError 53200 where there is no memory."""
        self._write(self._new_rows(len(ids)), ids, vectors)

    def index(self) -> None:
        """Once all are appended: how `change` will find them."""
        self._order = np.argsort(self._ids[: self._rows])
        self._loaded, self._places = self._ids[self._order], {}

    def change(self, ids: Ids, vectors: NDArray[np.float16], gone: Ids) -> None:
        """Give parts these vectors, whether they are held already or not, and forget others. Raises as `append`."""
        left = [row for row in self._find(gone) if row is not None]
        for block, inside, places in self._split(np.array(left, np.int64)):
            block.shift[places] = -torch.inf
            self._places |= dict.fromkeys(self._ids[np.array(left)[inside]].tolist())
        self._free += left
        found = self._find(ids)
        new = iter(self._new_rows(found.count(None)).tolist())
        rows = [next(new) if row is None else row for row in found]
        self._write(np.array(rows, np.int64), ids, vectors)
        self._places |= zip(ids.tolist(), rows, strict=True)

    def nearest(self, questions: NDArray[np.float32], counts: Sequence[int]) -> list[Nearest]:
        """For each question (q, dim), which float16 holds exactly, as many parts as `counts` says with the greatest
        cosines.
        """
        most = min(max(counts), self._rows)
        asked = torch.from_numpy(questions).to(self._device, torch.float16)
        values = torch.empty((len(counts), 0), device=self._device)
        rows = torch.empty((len(counts), 0), dtype=torch.int64, device=self._device)
        for first, scores in self._scores(asked):
            best, places = scores.topk(min(most, scores.shape[1]))
            values, rows = torch.cat([values, best], 1), torch.cat([rows, places + first], 1)
            values, order = values.topk(min(most, values.shape[1]))
            rows = rows.gather(1, order)
        cosines = values.cpu().numpy() / np.linalg.norm(questions, axis=1, keepdims=True)
        return [self._found(*one) for one in zip(cosines, rows.cpu().numpy(), counts, strict=True)]

    def _found(self, cosines: NDArray[np.float32], rows: NDArray[np.int64], count: int) -> Nearest:
        some = min(count, int(np.isfinite(cosines).sum()))
        bound = float(cosines[some - 1]) if some == count else -np.inf
        return Nearest(self._ids[rows[:some]], bound)

    def _scores(self, asked: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Number of a row, and the scores of it and of those that follow: float32 (q, some of the rows)."""
        at_once = max(SCORES_AT_ONCE // len(asked), 1)
        first, gathered = 0, list[torch.Tensor]()
        for block in self._blocks:
            for start in range(0, min(len(block.vectors), self._rows - block.first), at_once):
                part = slice(start, min(start + at_once, self._rows - block.first))
                scores = torch.addcmul(block.shift[part], _products(asked, block.vectors[part]), block.scale[part])
                if sum(map(_columns, gathered)) + _columns(scores) > at_once:
                    yield first, torch.cat(gathered, 1)
                    first, gathered = block.first + start, []
                gathered.append(scores)
        if gathered:
            yield first, torch.cat(gathered, 1)

    def _find(self, ids: Ids) -> list[int | None]:
        """The row of each part; None where it is not held."""
        places = np.minimum(np.searchsorted(self._loaded, ids), max(len(self._loaded) - 1, 0))
        loaded = self._loaded[places] == ids if len(self._loaded) else np.zeros(len(ids), bool)
        return [
            self._places.get(part, int(self._order[place]) if known else None)
            for part, place, known in zip(ids.tolist(), places, loaded, strict=True)
        ]

    def _new_rows(self, count: int) -> NDArray[np.int64]:
        """Rows that hold nothing: those of parts that are gone first."""
        while self._capacity < self._rows + count - len(self._free):
            self._add_block(_block_rows(self._capacity))
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        start, self._rows = self._rows, self._rows + count - len(reused)
        return np.concatenate([np.array(reused, np.int64), np.arange(start, self._rows)])

    def _add_block(self, rows: int) -> None:
        try:
            vectors = torch.empty((rows, self.dim), dtype=torch.float16, device=self._device)
            scale, shift = torch.zeros(rows, device=self._device), torch.full((rows,), -torch.inf, device=self._device)
        except RuntimeError as full:
            hint = "Keep fewer spaces resident, or lower --resident-memory-mb of `pgcad serve`."
            raise CadError("53200", f"{self._device} has no memory left for vectors", hint, str(full)) from full
        self._blocks.append(_Block(self._capacity, vectors, scale, shift))
        self._ids = np.concatenate([self._ids, np.zeros(rows, "S16")])
        self._capacity += rows

    def _write(self, rows: NDArray[np.int64], ids: Ids, vectors: NDArray[np.float16]) -> None:
        self._ids[rows] = ids
        length = np.linalg.norm(vectors.astype(np.float32), axis=1)
        scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
        shift = np.where(length > 0, np.float32(0), np.float32(-np.inf))
        for block, inside, places in self._split(rows):
            block.vectors[places] = torch.from_numpy(vectors[inside]).to(self._device)
            block.scale[places] = torch.from_numpy(scale[inside]).to(self._device)
            block.shift[places] = torch.from_numpy(shift[inside]).to(self._device)

    def _split(self, rows: NDArray[np.int64]) -> Iterator[tuple[_Block, NDArray[np.bool_], torch.Tensor]]:
        """The blocks that rows lie in, which of the rows do, and where in the block."""
        for block in self._blocks:
            inside = (rows >= block.first) & (rows < block.first + len(block.vectors))
            if inside.any():
                yield block, inside, torch.from_numpy(rows[inside] - block.first).to(self._device)


def row_bytes(dim: int) -> int:
    """What a part takes: its vector, scale and shift on the device, its identity beside it."""
    return 2 * dim + 2 * 4 + 16


def _block_rows(capacity: int) -> int:
    return min(max(capacity, FEWEST_ROWS), MOST_ROWS)


def _columns(scores: torch.Tensor) -> int:
    return scores.shape[1]


def _products(asked: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Inner products (q, rows) of float16 (q, dim) and (rows, dim), summed up in float32 and kept so."""
    if vectors.is_cuda:
        return torch.mm(asked, vectors.T, out_dtype=torch.float32)
    wide, copy = asked.float(), torch.empty((CPU_ROWS_AT_ONCE, vectors.shape[1]))
    products = torch.empty((len(asked), len(vectors)))
    for start in range(0, len(vectors), CPU_ROWS_AT_ONCE):
        some = vectors[start : start + CPU_ROWS_AT_ONCE]
        products[:, start : start + len(some)] = wide @ copy[: len(some)].copy_(some).T
    return products
