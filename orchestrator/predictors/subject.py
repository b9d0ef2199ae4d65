"""Success by subject, with the subject recognised from the text."""

from __future__ import annotations

from itertools import product
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Rebuild, contrast_loss, inner_products
from orchestrator.predictors.cluster import success_table
from orchestrator.predictors.features import FeatureScale
from orchestrator.predictors.linear import solve_ridge
from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, Queries

PENALTY = 0.1
SHARPNESS = (1.0, 2.0, 3.0)
PRIOR_WEIGHTS = (5.0, 20.0, 50.0)
MIN_CONFIDENCE = 1e-4


class SubjectPredictor:
    """A ridge classifier estimates subject probabilities; success is the table by subject, weighted by these.

    The labels come from the training questions; prediction needs only the text. Without labels, or with a
    single one, success is each expert's mean.
    """

    kind: ClassVar[str] = "subject"

    def __init__(self, *, label: Literal["subject", "domain"] = "subject") -> None:
        self.experts: tuple[str, ...] = ()
        self._label = label

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Choose sharpness and shrinkage by :func:`contrast_loss` on validation."""
        best, chosen = float("inf"), (SHARPNESS[0], PRIOR_WEIGHTS[0])
        self.sharpness, self.prior_weight = chosen
        self._learn(train)
        labels = self._membership(train)
        for sharpness, prior_weight in product(SHARPNESS, PRIOR_WEIGHTS):
            self.sharpness, self.prior_weight = sharpness, prior_weight
            self._table = success_table(labels, train.outcomes.score, prior_weight=prior_weight)
            loss = contrast_loss(self.predict(validation.queries), validation.outcomes.score)
            if loss < best:
                best, chosen = loss, (sharpness, prior_weight)
        self.sharpness, self.prior_weight = chosen
        self._table = success_table(labels, train.outcomes.score, prior_weight=self.prior_weight)
        return self

    def refit(self, examples: Examples) -> Self:
        """Learn classifier and table again with the settings chosen."""
        self._learn(examples)
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m]."""
        likely = inner_products(self._features.apply(queries), self._weights) + self._share
        likely = np.maximum(likely, np.float32(MIN_CONFIDENCE)) ** np.float32(self.sharpness)
        likely /= likely.sum(axis=1, keepdims=True)
        return inner_products(likely, np.ascontiguousarray(self._table.T))

    def state(self) -> State:
        """Return classifier and table."""
        config = {
            "experts": list(self.experts),
            "label": self._label,
            "sharpness": self.sharpness,
            "prior_weight": self.prior_weight,
            "subjects": [str(name) for name in self._subjects],
        }
        arrays = {
            "weights": self._weights,
            "share": self._share,
            "table": self._table,
            **self._features.arrays(),
        }
        return State(self.kind, config, arrays)

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted predictor."""
        subject = cls(label=state.config["label"])
        subject.experts = tuple(state.config["experts"])
        subject.sharpness, subject.prior_weight = state.config["sharpness"], state.config["prior_weight"]
        subject._subjects = np.array(state.config["subjects"])
        subject._weights, subject._share = state.arrays["weights"], state.arrays["share"]
        subject._table = state.arrays["table"]
        subject._features = FeatureScale(state.arrays["centre"], state.arrays["scale"])
        return subject

    def _learn(self, examples: Examples) -> None:
        self.experts = examples.outcomes.experts
        self._subjects = np.unique(self._labels(examples))
        labels = self._membership(examples)
        self._features = FeatureScale.of(examples.queries)
        features = self._features.apply(examples.queries).astype(np.float64)
        share = labels.mean(axis=0)
        (weights,) = solve_ridge(features, labels - share, (PENALTY,))
        self._weights = np.ascontiguousarray(weights.T, np.float32)
        self._share = share.astype(np.float32)
        self._table = success_table(labels, examples.outcomes.score, prior_weight=self.prior_weight)

    def _labels(self, examples: Examples) -> NDArray[np.str_]:
        return examples.outcomes.subjects if self._label == "subject" else examples.outcomes.domains

    def _membership(self, examples: Examples) -> NDArray[np.float64]:
        return np.asarray(self._labels(examples)[:, None] == self._subjects, dtype=np.float64)
