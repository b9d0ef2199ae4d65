"""Ridge regression of success on the embedding: one linear map for all experts."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Rebuild, contrast_loss, inner_products
from orchestrator.predictors.features import FeatureScale
from orchestrator.predictors.knn import mean_scores
from orchestrator.predictors.linear import solve_ridge
from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, Queries

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)


class RidgePredictor:
    """Success = the expert's mean + a linear function of embedding and surface, fitted on its own answers."""

    kind: ClassVar[str] = "ridge"

    def __init__(self) -> None:
        self.experts: tuple[str, ...] = ()

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Choose the penalty by :func:`contrast_loss` on validation."""
        losses = []
        for weights in self._solve(train, PENALTIES):
            self._weights = weights
            losses.append(contrast_loss(self.predict(validation.queries), validation.outcomes.score))
        self.penalty = PENALTIES[int(np.argmin(losses))]
        return self.refit(train)

    def refit(self, examples: Examples) -> Self:
        """Solve again at the penalty chosen."""
        (self._weights,) = self._solve(examples, (self.penalty,))
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m]."""
        success = self._mean_score + inner_products(self._features.apply(queries), self._weights)
        return np.clip(success, 0, 1)

    def state(self) -> State:
        """Return weights, means and scales."""
        arrays = {"weights": self._weights, "mean": self._mean_score, **self._features.arrays()}
        return State(self.kind, {"experts": list(self.experts), "penalty": self.penalty}, arrays)

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted predictor."""
        ridge = cls()
        ridge.experts, ridge.penalty = tuple(state.config["experts"]), state.config["penalty"]
        ridge._weights, ridge._mean_score = state.arrays["weights"], state.arrays["mean"]
        ridge._features = FeatureScale(state.arrays["centre"], state.arrays["scale"])
        return ridge

    def _solve(self, examples: Examples, penalties: tuple[float, ...]) -> list[NDArray[np.float32]]:
        self.experts = examples.outcomes.experts
        self._features = FeatureScale.of(examples.queries)
        self._mean_score = mean_scores(examples.outcomes.score)
        targets = examples.outcomes.score.astype(np.float64) - self._mean_score
        features = self._features.apply(examples.queries).astype(np.float64)
        return [np.ascontiguousarray(w.T, np.float32) for w in solve_ridge(features, targets, penalties)]
