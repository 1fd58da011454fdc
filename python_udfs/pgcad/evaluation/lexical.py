"""What words alone find: the baseline beside every question in words.

The gallery is known by the description that pgcad generates for a part without a name: its size, what its shape is made
of. Terms weigh by how rare they are (tf–idf; Spärck Jones 1972).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

_TERM = r"[A-Za-z]+|\d+(?:\.\d+)?|[\u4e00-\u9fff]"


def lexical_scores(queries: Sequence[str], descriptions: Sequence[str]) -> Tensor:
    """Cosines (queries, descriptions) of tf–idf vectors; Chinese by characters and pairs of them."""
    terms = TfidfVectorizer(token_pattern=_TERM, ngram_range=(1, 2), sublinear_tf=True)
    gallery = terms.fit_transform(descriptions)
    return torch.from_numpy((terms.transform(queries) @ gallery.T).toarray()).float()
