"""Weights from judged candidates, asked of the service."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pgcad.errors import CadError
from pgcad.service.inline import InlineBackend
from service_doubles.dispatched import ask

HEADER = {"scores": ["text", "image"], "weights": [1, 1]}
QUESTIONS = 10


def table(rows: list[list[float]]) -> bytes:
    return np.array(rows, "<f4").tobytes()


TEXT_TELLS = [
    row for question in range(QUESTIONS) for row in ([question, 1, 0.9, 0.1 * (question % 3)], [question, 0, 0.1, 0.9])
]


def test_weights_and_figures_have_names(backend: InlineBackend) -> None:
    answer, bodies = ask(backend, "learn_weights", HEADER, table(TEXT_TELLS))
    assert bodies == []
    assert answer["weights"]["text"] > answer["weights"]["image"] >= 0
    assert answer["weights"]["text"] + answer["weights"]["image"] == pytest.approx(2)
    assert set(answer["measured"]) == {"r1_before", "r1", "mrr_before", "mrr", "gain_low", "gain_high"}
    assert answer["measured"]["r1"] == 1


@pytest.mark.parametrize(
    ("header", "payloads"),
    [
        ({}, [table(TEXT_TELLS)]),
        (HEADER, []),
        (HEADER, [b""]),
        (HEADER, [table(TEXT_TELLS)[:-4]]),
        (HEADER, [table(TEXT_TELLS[:8])]),
        (HEADER, [table(TEXT_TELLS[::-1])]),
        (HEADER, [table([*TEXT_TELLS, [QUESTIONS, 0, 1, 1]])]),
        (HEADER, [table([*TEXT_TELLS, [QUESTIONS, 1, np.nan, 1]])]),
        ({"scores": ["text"], "weights": [1, 1]}, [table(TEXT_TELLS)]),
        ({"scores": ["text", "image"], "weights": ["1", None]}, [table(TEXT_TELLS)]),
        ({"scores": ["text", "image"], "weights": [-1, 1]}, [table(TEXT_TELLS)]),
    ],
)
def test_what_is_no_table_is_refused(backend: InlineBackend, header: dict[str, Any], payloads: list[bytes]) -> None:
    with pytest.raises(CadError) as refused:
        ask(backend, "learn_weights", header, *payloads)
    assert refused.value.sqlstate == "22023"
