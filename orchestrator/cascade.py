"""Cascade: ask a cheap expert first, look at its confidence, and escalate when that is expected to pay.

After *A Unified Approach to Routing and Cascading for LLMs* (Dekoninck et al. 2024): the estimates of every
expert are updated by what the first answer showed, then the same trade of success and cost decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.selector import select_at_multiplier

ITERATIONS = 25
PENALTY = 1e-3
CLIP = 1e-3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CascadeResult:
    """What a cascade did on ``n`` queries."""

    first: NDArray[np.intp]  # [n] expert asked first
    last: NDArray[np.intp]  # [n] expert whose answer stood
    score: Floats  # [n]
    cost_usd: Floats  # [n] of every expert asked


class CascadePolicy:
    """Escalates from one first expert, chosen per multiplier on validation, by its confidence.

    For a first expert i, each expert's success given i's confidence z is a logistic regression on
    (logit of the router's estimate, z, both together), fitted where expert and confidence are known. The
    query escalates to the expert of greatest updated success - multiplier * cost if that beats i's answer.
    """

    def fit(self, success: NDArray[Any], confidence: NDArray[Any], score: NDArray[Any]) -> Self:
        """Learn what a confidence tells.

        Args:
            success: [n, m] the router's predictions on questions it has not learned from.
            confidence: [n, m] of each expert's own answer in [0, 1]; NaN where it gives none.
            score: [n, m] outcomes, NaN where not asked.
        """
        m = success.shape[1]
        self.firsts = [i for i in range(m) if np.isfinite(confidence[:, i]).any()]
        self._weights: dict[int, Floats] = {}
        for i in self.firsts:
            weights = np.zeros((m, 4))
            for j in range(m):
                seen = np.isfinite(score[:, j]) & np.isfinite(confidence[:, i])
                features = _features(success[seen, j], confidence[seen, i])
                weights[j] = _logistic(features, score[seen, j].astype(float))
            self._weights[i] = weights
        return self

    def update(self, first: int, success: NDArray[Any], confidence: NDArray[Any]) -> Floats:
        """Success of every expert [n, m] once the first one's confidence [n] is known."""
        columns = [
            _sigmoid(_features(success[:, j], confidence) @ self._weights[first][j])
            for j in range(success.shape[1])
        ]
        return np.column_stack(columns)

    def choose(
        self, first: int, success: NDArray[Any], cost_usd: Floats, confidence: NDArray[Any], multiplier: float
    ) -> NDArray[np.intp]:
        """Who has the last word [n]: the first expert (nothing more to pay) or the one escalated to."""
        updated = self.update(first, success, confidence)
        extra = cost_usd.copy()
        extra[:, first] = 0.0
        return select_at_multiplier(updated, extra, multiplier)

    def run(
        self,
        first: int | None,
        success: NDArray[Any],
        cost_usd: Floats,
        confidence: NDArray[Any],
        score: NDArray[Any],
        multiplier: float,
    ) -> CascadeResult:
        """Play the cascade on recorded outcomes; ``first`` None routes without one."""
        rows = np.arange(len(success))
        if first is None:
            choice = select_at_multiplier(success, cost_usd, multiplier)
            return CascadeResult(choice, choice, score[rows, choice].astype(float), cost_usd[rows, choice])
        last = self.choose(first, success, cost_usd, confidence[:, first], multiplier)
        paid = cost_usd[:, first] + np.where(last == first, 0.0, cost_usd[rows, last])
        return CascadeResult(np.full(len(rows), first), last, score[rows, last].astype(float), paid)

    def choose_first(
        self,
        success: NDArray[Any],
        cost_usd: Floats,
        confidence: NDArray[Any],
        score: NDArray[Any],
        multiplier: float,
    ) -> int | None:
        """The first expert of greatest mean score - multiplier * cost on validation; None: plain routing."""

        def value(first: int | None) -> float:
            result = self.run(first, success, cost_usd, confidence, score, multiplier)
            return float(result.score.mean() - multiplier * result.cost_usd.mean())

        return max([None, *self.firsts], key=value)


def _features(success: NDArray[Any], confidence: NDArray[Any]) -> Floats:
    p = np.clip(np.asarray(success, float), CLIP, 1 - CLIP)
    logit = np.log(p / (1 - p))
    z = np.asarray(confidence, float)
    return np.column_stack([np.ones(len(p)), logit, z, z * logit])


def _logistic(features: Floats, target: Floats) -> Floats:
    """Weights of a ridge-penalised logistic regression, by Newton's method."""
    weights = np.zeros(features.shape[1])
    weights[1] = 1.0
    start = weights.copy()
    penalty = PENALTY * max(len(features), 1)
    for _ in range(ITERATIONS):
        p = _sigmoid(features @ weights)
        gradient = features.T @ (p - target) + penalty * (weights - start)
        hessian = (features * (p * (1 - p))[:, None]).T @ features + penalty * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), dtype=np.float64)
