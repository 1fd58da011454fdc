"""What is trained on, wherever its parts come from."""

from __future__ import annotations

from dataclasses import dataclass

from pgcad.corpus.parts import Part


@dataclass(frozen=True)
class Query:
    """A text that a validation part is looked for by, and the family over which its rank is averaged."""

    text: str
    family: str


@dataclass(frozen=True)
class Dataset:
    """The parts to train on, the validation queries, and the gallery that these are looked for in, which begins with
    their own parts in the same order.
    """

    training: list[Part]
    queries: list[Query]
    gallery: list[Part]

    def summary(self) -> str:
        """How much there is, in one line."""
        parts, queries, gallery = len(self.training), len(self.queries), len(self.gallery)
        return f"{parts} parts to train on, {queries} validation queries in {gallery} parts"
