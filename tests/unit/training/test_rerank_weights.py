"""Weights that judgements follow are found, and what they do not tell stays."""

from __future__ import annotations

import numpy as np
import pytest
from pgcad.training.rerank_weights import Floats, Judged, first_right, fitted, learn

EQUAL = np.array([1.0, 1.0, 1.0])


def judged_by(hidden: Floats, questions: int, noise: float = 0.0, seed: int = 5) -> Judged:
    """30 random candidates a question, of which the one with the most weighted scores, and some noise, is right."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.5, 0.05, (questions, 30, len(hidden)))
    best = (scores @ hidden + noise * rng.gumbel(size=(questions, 30))).argmax(1)
    right = np.arange(30) == best[:, None]
    return Judged(np.repeat(np.arange(questions), 30), right.ravel(), scores.reshape(-1, len(hidden)))


def test_weights_are_found() -> None:
    hidden = np.array([1.0, 0.0, 4.0])
    found = fitted(judged_by(hidden, 300, noise=0.02), EQUAL)
    assert found.sum() == pytest.approx(EQUAL.sum())
    assert found / found.sum() == pytest.approx(hidden / hidden.sum(), abs=0.03)


def test_better_weights_are_better_on_questions_that_they_were_not_learned_from() -> None:
    learned = learn(judged_by(np.array([1.0, 0.0, 4.0]), 60), EQUAL)
    assert learned.gain.low > 0
    assert learned.mrr - learned.mrr_before == pytest.approx(learned.gain.value)
    assert learned.r1_before < learned.r1 <= 1


def test_chance_teaches_nothing() -> None:
    for seed in range(10):
        assert learn(judged_by(np.zeros(3), 60, noise=1.0, seed=seed), EQUAL).gain.low <= 0


def test_a_score_that_tells_nothing_keeps_its_weight() -> None:
    judged = judged_by(np.array([1.0, 4.0]), 60)
    silent = Judged(judged.question, judged.right, np.insert(judged.scores, 1, 0, axis=1))
    found, without = fitted(silent, np.array([1.0, 0.5, 1.0])), fitted(judged, np.array([1.0, 1.0]))
    assert found == pytest.approx(np.insert(without, 1, 0.5))
    assert fitted(Judged(judged.question, judged.right, np.ones((len(judged.right), 3))), EQUAL) is EQUAL


def test_few_judgements_move_weights_little() -> None:
    hidden = np.array([1.0, 0.0, 4.0])
    moved = [np.abs(fitted(judged_by(hidden, count), EQUAL) - EQUAL).sum() for count in (5, 50, 500)]
    assert moved == sorted(moved)


def test_no_weight_is_negative() -> None:
    judged = judged_by(np.array([1.0, -4.0]), 60)
    assert (fitted(judged, np.array([1.0, 1.0])) >= 0).all()


def test_equal_scores_rank_in_their_order_and_the_first_right_one_counts() -> None:
    question, right = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 0, 1, 1, 0], bool)
    judged = Judged(question, right, np.array([[1.0], [1], [2], [1], [1], [1], [1]]))
    assert first_right(judged, np.ones(1)).tolist() == [1, 2, 1]


def test_the_same_judgements_give_the_same_figures() -> None:
    judged = judged_by(np.array([1.0, 2.0, 0.5]), 40)
    first, second = learn(judged, EQUAL), learn(judged, EQUAL)
    assert (first.weights == second.weights).all()
    assert first.gain == second.gain
