"""Weights of the rerank from judged candidates, for cad.learn_weights."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from pgcad.errors import CadError
from pgcad.service.desk import Answer, Desk, Payloads
from pgcad.training.rerank_weights import FOLDS, Judged, learn


async def learn_weights(header: dict[str, Any], payloads: Payloads, desk: Desk | None = None) -> Answer:
    """Payload: float32 rows of candidates, question by question: its number, 1 for a right part or 0, the scores."""
    if len(payloads) != 1:
        raise CadError("22023", "learn_weights takes one table of candidates")
    names, before = _weights(header)
    judged = _judged(payloads[0], len(names))
    learned = await asyncio.to_thread(learn, judged, np.array(before, np.float64))
    measured = {
        "r1_before": learned.r1_before,
        "r1": learned.r1,
        "mrr_before": learned.mrr_before,
        "mrr": learned.mrr,
        "gain_low": learned.gain.low,
        "gain_high": learned.gain.high,
    }
    return {"weights": dict(zip(names, learned.weights.tolist(), strict=True)), "measured": measured}, []


def _weights(header: dict[str, Any]) -> tuple[list[str], list[float]]:
    """Names of scores and their weights until now. Raises CadError 22023 where they are not as many as each other."""
    names, weights = header.get("scores"), header.get("weights")
    if not isinstance(names, list) or not isinstance(weights, list) or len(names) != len(weights):
        raise CadError("22023", "learn_weights takes names of scores and a weight for each")
    if not all(isinstance(weight, int | float) and weight >= 0 for weight in weights):
        raise CadError("22023", "weights must be numbers from 0 on")
    return names, weights


def _judged(payload: bytes, scores: int) -> Judged:
    """Raises CadError 22023 where questions are torn apart, too few or without a right candidate."""
    columns = 2 + scores
    if len(payload) % (4 * columns) or not payload:
        raise CadError("22023", f"candidates are rows of {columns} float32")
    table = np.frombuffer(payload, "<f4").reshape(-1, columns).astype(np.float64)
    numbers, question = np.unique(table[:, 0], return_inverse=True)
    judged = Judged(question, table[:, 1] == 1, table[:, 2:])
    if not np.isfinite(table).all() or (np.diff(question) < 0).any() or len(numbers) < FOLDS:
        raise CadError("22023", f"candidates must be numbers, in order of question, of {FOLDS} questions or more")
    if not np.logical_or.reduceat(judged.right, judged.starts).all():
        raise CadError("22023", "every question needs a candidate that was judged right")
    return judged
