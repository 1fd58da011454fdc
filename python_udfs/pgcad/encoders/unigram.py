"""The tokenizer of XLM-RoBERTa: SentencePiece pieces, the most probable segmentation by a unigram model.

Kudo 2018, "Subword Regularization: Improving Neural Network Translation Models with Multiple Subword Candidates".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_UNKNOWN_PENALTY = 10.0


@dataclass(frozen=True)
class UnigramTokenizer:
    """Pieces with their log probabilities, and what characters are replaced by before."""

    pieces: Mapping[str, tuple[int, float]]
    replacements: Mapping[int, str]
    unknown: int
    longest: int
    unknown_score: float

    @classmethod
    def of(
        cls, pieces: list[str], scores: list[float], replacements: Mapping[int, str], unknown: int
    ) -> UnigramTokenizer:
        """Piece i of `pieces` has token id i and log probability scores[i]."""
        known = {piece: (i, score) for i, (piece, score) in enumerate(zip(pieces, scores, strict=True)) if i != unknown}
        return cls(known, replacements, unknown, max(map(len, pieces)), min(scores) - _UNKNOWN_PENALTY)

    def tokens(self, text: str) -> list[int]:
        """Token ids of `text`, without those of its beginning and end."""
        plain = re.sub(" +", " ", text.translate(self.replacements))
        line = (plain if plain.startswith(" ") else " " + plain).replace(" ", _SPACE)
        best = [0.0] + [-float("inf")] * len(line)
        came: list[tuple[int, int]] = [(0, self.unknown)] * (len(line) + 1)
        for start in range(len(line)):
            for end in range(start + 1, min(start + self.longest, len(line)) + 1):
                piece = self.pieces.get(line[start:end])
                if piece and best[start] + piece[1] > best[end]:
                    best[end], came[end] = best[start] + piece[1], (start, piece[0])
            if best[start] + self.unknown_score > best[start + 1]:
                best[start + 1], came[start + 1] = best[start] + self.unknown_score, (start, self.unknown)
        tokens, end = [], len(line)
        while end:
            end, token = came[end]
            tokens.append(token)
        return tokens[::-1]
