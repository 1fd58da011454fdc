"""What is trained on, wherever its parts come from."""

from __future__ import annotations

from dataclasses import dataclass

from pgcad.corpus.parts import Part
from pgcad.training.fingerprint import fingerprint


@dataclass(frozen=True)
class Query:
    """A text that a validation part is looked for by, and the family over which its rank is averaged."""

    text: str
    family: str


@dataclass(frozen=True)
class Dataset:
    """The parts to train on, the validation queries, and the gallery that these are looked for in, which begins with
    their own parts in the same order; and where all this is from, in Markdown, for the model card.
    """

    training: list[Part]
    queries: list[Query]
    gallery: list[Part]
    origin: str

    def summary(self) -> str:
        """How much there is, in one line."""
        parts, queries, gallery = len(self.training), len(self.queries), len(self.gallery)
        told = sum(bool(part.texts) for part in self.training)
        return f"{parts} parts to train on, {told} of them with text; {queries} validation queries in {gallery} parts"

    def fingerprint(self) -> str:
        """What tells this dataset from another: every part, every text, every query."""
        training = [(part.key, part.texts, part.caption, part.family) for part in self.training]
        queries = [(query.text, query.family) for query in self.queries]
        return fingerprint(training, queries, [part.key for part in self.gallery])
