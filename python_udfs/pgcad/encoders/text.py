"""The text tower: a frozen multilingual sentence encoder, engineering numbers and words, and a learned projection.

The sentence encoder is multilingual-e5-small (`pgcad.encoders.e5`).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from pgcad.encoders.e5 import E5
from pgcad.encoders.int8 import in_int8
from pgcad.encoders.precision import eight_bits
from pgcad.encoders.quantity_features import WIDTH as QUANTITY_WIDTH
from pgcad.encoders.quantity_features import quantity_features
from pgcad.errors import CadError
from pgcad.geometry.text import speaks

ROLES = ("query", "passage")
SENTENCE_WIDTH = 384
# Some 500 tokens of English: a description that is longer is no better known by its rest.
MAX_CHARACTERS = 2000
_VOCABULARY, _WORD_WIDTH, _MAX_WORDS = 8192, 128, 64
_WORD = re.compile(r"[a-z]+|[\u4e00-\u9fff]+")
_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class TextFeatures:
    """What the tower reads: `sentence` (n, 384) and `numbers` (n, QUANTITY_WIDTH) float32, `words` (n, 64) int64."""

    sentence: Tensor
    numbers: Tensor
    words: Tensor

    def to(self, device: torch.device) -> TextFeatures:
        return TextFeatures(self.sentence.to(device), self.numbers.to(device), self.words.to(device))

    def __getitem__(self, rows: Tensor) -> TextFeatures:
        return TextFeatures(self.sentence[rows], self.numbers[rows], self.words[rows])


def passage(report: Mapping[str, Any]) -> str:
    """The text embedded for a part: its name, description and Chinese description, as far as known; empty where nobody
    has said what it is. What pgcad generated says nothing that the geometry does not.

    A description that begins with the name stands for both.
    """
    name, *descriptions = (str(report.get(key) or "").strip() for key in ("name", "description", "description_zh"))
    if report.get("description_generated"):
        return name if speaks(name) else ""
    told = any(description.startswith(name) for description in descriptions)
    return ". ".join(part.rstrip(".") for part in ("" if told else name, *descriptions) if part)


def clean(text: str) -> str:
    """One line, NFKC, no control characters or lone surrogates, at most MAX_CHARACTERS.

    Raises CadError 22023 when nothing is left.
    """
    text = unicodedata.normalize("NFKC", text[: 2 * MAX_CHARACTERS])
    printable = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    line = " ".join(printable.split())[:MAX_CHARACTERS]
    if not line:
        raise CadError("22023", "the text to embed is empty", "Describe the part, for example 'M8 flange bolt, 40 mm'.")
    return line


def word_ids(text: str) -> list[int]:
    """Hashed vocabulary ids (1 …) of the Latin words and Chinese character pairs of `text`."""
    words: list[str] = []
    for run in _WORD.findall(text.lower()):
        if _HAN.match(run):
            words += [run[start : start + 2] for start in range(max(1, len(run) - 1))]
        else:
            words.append(run)
    return [1 + zlib.crc32(word.encode()) % _VOCABULARY for word in dict.fromkeys(words)][:_MAX_WORDS]


class SentenceEncoder:
    """The frozen sentence encoder and the feature extraction around it."""

    def __init__(self, device: torch.device | None = None) -> None:
        device = device or torch.device("cpu")
        self._model = in_int8(E5()) if eight_bits(device) else E5().to(device)

    def sentences(self, texts: Sequence[str], role: str = "query") -> NDArray[np.float32]:
        """(n, 384) unit vectors of the sentence encoder alone. Raises CadError 22023 as `features` does."""
        if role not in ROLES:
            raise CadError("22023", f"unknown text role {role!r}", f"Use one of: {', '.join(ROLES)}.")
        return self._model.encode([f"{role}: {clean(text)}" for text in texts])

    def features(self, texts: Sequence[str], role: str = "query") -> TextFeatures:
        """Features of n texts. Raises CadError 22023 for an empty text or an unknown role."""
        return with_terms(texts, torch.from_numpy(self.sentences(texts, role)))


def with_terms(texts: Sequence[str], sentence: Tensor) -> TextFeatures:
    """The sentence vectors (n, 384) of n texts together with the numbers and words of the same texts."""
    lines = [clean(text) for text in texts]
    words = torch.zeros(len(lines), _MAX_WORDS, dtype=torch.int64)
    for row, line in enumerate(lines):
        ids = word_ids(line)
        words[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return TextFeatures(sentence, quantity_features(lines), words)


class TextTower(nn.Module):
    """TextFeatures → (n, dim), unit length."""

    def __init__(self, dim: int = 512, hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.words = nn.Embedding(_VOCABULARY + 1, _WORD_WIDTH, padding_idx=0)
        # From zero: a word never seen in training then adds nothing instead of noise.
        nn.init.zeros_(self.words.weight)
        self.project = nn.Sequential(
            nn.Linear(SENTENCE_WIDTH + QUANTITY_WIDTH + _WORD_WIDTH, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )

        # Numbers have a straight way of their own: what 2.54 mm means does not depend on the words around.
        self.numbers = nn.Linear(QUANTITY_WIDTH, dim, bias=False)

    def forward(self, features: TextFeatures) -> Tensor:
        count = (features.words > 0).sum(1, keepdim=True).clamp_min(1)
        words = self.words(features.words).sum(1) / count.sqrt()
        # Unit-length sentences have components near 0.05; bring them to the scale of the other inputs.
        sentence = features.sentence * SENTENCE_WIDTH**0.5
        projected = self.project(torch.cat([sentence, features.numbers, words], 1))
        return normalize(projected + self.numbers(features.numbers), dim=1)
