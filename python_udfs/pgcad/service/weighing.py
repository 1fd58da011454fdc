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
    names, before = header.get("scores"), header.get("weights")
    if not isinstance(names, list) or not isinstance(before, list) or len(names) != len(before) or len(payloads) != 1:
        raise CadError("22023", "learn_weights takes names of scores, a weight for each, and one table of candidates")
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
