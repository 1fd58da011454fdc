"""What each score should count in the rerank, learned from judgements.

The model is the conditional logit (McFadden 1974; for lists: Cao et al. 2007, ListNet): of a question's candidates, the
right one is chosen with a probability that grows with the exponential of its weighted scores. No weight is negative.
What little data cannot tell stays as it was: the prior of the weights is a Gaussian around those in force, with each
score in units of its own spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from pgcad.evaluation.intervals import Estimate, estimate

FOLDS = 5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """The candidates of q questions, n in all, question by question: `question` (n,) from 0 on, `right` (n,) whether a
    candidate was judged so, as at least one of each question was, and `scores` (n, d).
    """

    question: NDArray[np.int64]
    right: NDArray[np.bool_]
    scores: Floats

    @property
    def questions(self) -> int:
        return int(self.question[-1]) + 1

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.diff(self.question, prepend=-1))

    def only(self, chosen: NDArray[np.bool_]) -> Judged:
        """The questions that are `chosen` (q,)."""
        rows = chosen[self.question]
        renumbered = np.cumsum(chosen) - 1
        return Judged(renumbered[self.question[rows]], self.right[rows], self.scores[rows])


@dataclass(frozen=True)
class Learned:
    """Weights (d,), and how questions rank with the weights of before and with weights that were learned without them:
    shares with the right part first, mean reciprocal ranks, and the difference of the latter.
    """

    weights: Floats
    r1_before: float
    r1: float
    mrr_before: float
    mrr: float
    gain: Estimate


def learn(judged: Judged, before: Floats, seed: int = 1) -> Learned:
    """Weights as good as `judged` tells, whose sum is that of the weights `before` (d,), and whether they are better.

    Raises ValueError for fewer questions than folds.
    """
    if judged.questions < FOLDS:
        raise ValueError(f"{judged.questions} questions are fewer than {FOLDS} folds")
    fold = np.arange(judged.questions) % FOLDS
    rank_before, rank = first_right(judged, before), np.empty(judged.questions)
    for held_out in range(FOLDS):
        weights = fitted(judged.only(fold != held_out), before)
        rank[fold == held_out] = first_right(judged.only(fold == held_out), weights)
    gain = estimate(1 / rank - 1 / rank_before, np.random.default_rng(seed))
    return Learned(
        fitted(judged, before),
        float((rank_before == 1).mean()),
        float((rank == 1).mean()),
        float((1 / rank_before).mean()),
        float((1 / rank).mean()),
        gain,
    )


def fitted(judged: Judged, before: Floats) -> Floats:
    """The most probable weights (d,); a score that is the same for all candidates keeps its weight."""
    means = np.add.reduceat(judged.scores, judged.starts) / np.bincount(judged.question)[:, None]
    spread = (judged.scores - means[judged.question]).std(0)
    tells = spread > np.finfo(np.float32).eps
    if not tells.any():
        return before
    scores, known = judged.scores[:, tells] / spread[tells], (before * spread)[tells]
    [scale] = _most_probable(judged, scores @ known[:, None], np.ones(1), prior=0.0)
    learned = _most_probable(judged, scores, scale * known, prior=1.0) / spread[tells]
    if not learned.any():
        return before
    weights = before.copy()
    weights[tells] = learned * ((before[tells].sum() or 1.0) / learned.sum())
    return weights


def first_right(judged: Judged, weights: Floats) -> Floats:
    """Rank (q,), from 1 on, of the first right candidate of each question; equal ones rank in their order."""
    order = np.lexsort((-(judged.scores @ weights), judged.question))  # stable
    place = np.arange(len(order)) - judged.starts[judged.question] + 1
    return np.minimum.reduceat(np.where(judged.right[order], place, len(order)), judged.starts).astype(np.float64)


def _most_probable(judged: Judged, scores: Floats, centre: Floats, prior: float) -> Floats:
    """Weights (d,) of `scores` (n, d) from `centre` on, which is the mean of their prior of precision `prior`."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        total = scores @ weights
        of_all, chosen = _softmax(judged, total)
        of_right, right = _softmax(judged, np.where(judged.right, total, -np.inf))
        away = weights - centre
        return float((of_all - of_right).sum() + prior / 2 * away @ away), scores.T @ (chosen - right) + prior * away

    return np.asarray(minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(centre)).x)


def _softmax(judged: Judged, total: Floats) -> tuple[Floats, Floats]:
    """Per question the logarithm of the sum of exponentials (q,), and each candidate's share of it (n,)."""
    most = np.maximum.reduceat(total, judged.starts)
    grown = np.exp(total - most[judged.question])
    sums = np.add.reduceat(grown, judged.starts)
    return np.log(sums) + most, grown / sums[judged.question]
