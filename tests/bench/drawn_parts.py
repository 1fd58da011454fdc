"""Parts and questions that are drawn from the model of `vector_model.py`, and what is true of them.

Every part has a mass, spread evenly from 0 to 1 kg: a filter on it lets through exactly the share that it names,
whatever is asked. Half of the questions are parts, half are captions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vector_model import VectorModel, Vectors, nearest


@dataclass(frozen=True)
class DrawnParts:
    """Unit vectors (n, dim) of parts and their masses in kg (n); a part is known by its place."""

    vectors: Vectors
    masses: NDArray[np.float64]

    @classmethod
    def draw(cls, model: VectorModel, count: int, chance: np.random.Generator) -> DrawnParts:
        vectors = np.concatenate(list(model.parts.draw(count, chance)))
        return cls(vectors, (chance.permutation(count) + 0.5) / count)

    def nearest(self, questions: Vectors, share: float, count: int) -> list[set[int]]:
        """The parts nearest to each question, exactly, among those with a mass below `share`."""
        matching = np.flatnonzero(self.masses < share)
        if len(matching) <= count:
            return [set(matching.tolist())] * len(questions)
        found, _ = nearest(questions, self.vectors[matching], count)
        return [set(matching[row].tolist()) for row in found]


def draw_questions(model: VectorModel, count: int, chance: np.random.Generator) -> Vectors:
    """Questions (count, dim), half parts, half captions; `count` is even."""
    return np.concatenate([*model.parts.draw(count // 2, chance), *model.questions.draw(count // 2, chance)])


def recall(found: list[set[int]], right: list[set[int]]) -> float:
    """Share of the right parts that was found, over all questions."""
    hits = sum(len(some & true) for some, true in zip(found, right, strict=True))
    return hits / sum(map(len, right))
