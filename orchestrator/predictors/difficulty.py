"""Success from the difficulty of the question and each expert's sensitivity to it."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Rebuild
from orchestrator.predictors.features import FeatureScale
from orchestrator.predictors.knn import mean_scores
from orchestrator.predictors.linear import solve_ridge
from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, Queries

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
SLOPE_PRIOR = 0.1  # share of the questions' worth of the common slope in each expert's own


class DifficultyPredictor:
    """Success = the expert's mean + its slope times the ease of the question, read from the text.

    A linear form of the two-parameter model of item response theory: strong experts lose less on hard
    questions. Ease is a single ridge regression on the mean outcome of all experts, which is far less noisy
    than one expert's. Only two parameters per expert depend on its own answers.
    """

    kind: ClassVar[str] = "difficulty"

    def __init__(self) -> None:
        self.experts: tuple[str, ...] = ()

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Learn ease on train; choose the penalty and every expert's slope on validation."""
        ease = _ease(validation.outcomes.score, mean_scores(train.outcomes.score))
        known = np.isfinite(ease)
        losses = []
        for weights in self._solve(train, PENALTIES):
            self._weights = weights
            losses.append(float(np.mean((self._predict_ease(validation.queries) - ease)[known] ** 2)))
        self.penalty = PENALTIES[int(np.argmin(losses))]
        self.refit(train)
        self._slopes = _slopes(
            self._predict_ease(validation.queries).astype(np.float64),
            validation.outcomes.score.astype(np.float64) - self._mean_score,
        )
        return self

    def refit(self, examples: Examples) -> Self:
        """Learn ease again at the penalty chosen; the slopes stay."""
        (self._weights,) = self._solve(examples, (self.penalty,))
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m]."""
        success = self._mean_score + self._predict_ease(queries)[:, None] * self._slopes
        clipped: NDArray[np.float32] = np.clip(success, 0, 1)
        return clipped

    def state(self) -> State:
        """Return weights, means and slopes."""
        arrays = {
            "weights": self._weights,
            "mean": self._mean_score,
            "slopes": self._slopes,
            **self._features.arrays(),
        }
        return State(self.kind, {"experts": list(self.experts), "penalty": self.penalty}, arrays)

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted predictor."""
        difficulty = cls()
        difficulty.experts, difficulty.penalty = tuple(state.config["experts"]), state.config["penalty"]
        difficulty._weights, difficulty._mean_score = state.arrays["weights"], state.arrays["mean"]
        difficulty._slopes = state.arrays["slopes"]
        difficulty._features = FeatureScale(state.arrays["centre"], state.arrays["scale"])
        return difficulty

    def _predict_ease(self, queries: Queries) -> NDArray[np.float32]:
        ease: NDArray[np.float32] = np.vecdot(self._features.apply(queries), self._weights)
        return ease

    def _solve(self, examples: Examples, penalties: tuple[float, ...]) -> list[NDArray[np.float32]]:
        self.experts = examples.outcomes.experts
        self._features = FeatureScale.of(examples.queries)
        self._mean_score = mean_scores(examples.outcomes.score)
        target = _ease(examples.outcomes.score, self._mean_score)[:, None]
        features = self._features.apply(examples.queries).astype(np.float64)
        return [np.ascontiguousarray(w[:, 0], np.float32) for w in solve_ridge(features, target, penalties)]


def _ease(score: NDArray[np.float32], mean_score: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much better than usual the experts asked did on each question [n]; NaN where none was asked."""
    seen = np.isfinite(score)
    count = seen.sum(axis=1)
    total = np.where(seen, score - mean_score, 0).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _slopes(ease: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float32]:
    """Least squares slope of each expert's residual [n, m] on ease [n], drawn to that of all together."""
    seen = np.isfinite(residual)
    square = (seen * ease[:, None] ** 2).sum(axis=0)
    product = np.where(seen, residual * ease[:, None], 0).sum(axis=0)
    common = float(product.sum() / max(float(square.sum()), 1e-12))
    prior = SLOPE_PRIOR * max(float(square.max()), 1e-12)
    slopes: NDArray[np.float32] = ((product + prior * common) / (square + prior)).astype(np.float32)
    return slopes
