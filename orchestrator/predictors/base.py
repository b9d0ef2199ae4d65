"""The interface of success predictors, and the predictions that they give to the selector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, Queries


@dataclass(frozen=True)
class Prediction:
    """The predicted success and cost of ``m`` experts on ``n`` queries."""

    experts: tuple[str, ...]  # [m]
    success: NDArray[np.float32]  # [n, m] expected score in [0, 1]
    cost_usd: NDArray[np.float64]  # [n, m] expected price of the answer

    def take(self, rows: NDArray[np.intp]) -> Prediction:
        """Return those of some queries."""
        return Prediction(self.experts, self.success[rows], self.cost_usd[rows])


class Predictor(Protocol):
    """Expected success of every expert on every query, in one pass.

    Missing outcomes (NaN) are left out of every fit; they never count as wrong.
    """

    kind: ClassVar[str]

    @property
    def experts(self) -> tuple[str, ...]:
        """The pool, in the order of the columns."""
        ...

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Learn from ``train``; settings are chosen by their loss on ``validation``."""
        ...

    def refit(self, examples: Examples) -> Self:
        """Learn again from these examples, with the settings that :meth:`fit` chose."""
        ...

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m], columns in the order of ``experts``."""
        ...

    def state(self) -> State:
        """Return everything that :meth:`from_state` needs to predict the same bits again."""
        ...

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted predictor; ``rebuild`` rebuilds the predictors that it contains."""
        ...


#: Makes a fitted predictor of any state; the registry knows how.
Rebuild = Callable[[State], Predictor]


def squared_loss(success: NDArray[Any], score: NDArray[Any]) -> float:
    """Return the mean squared error over the outcomes that there are, a proper loss for choosing settings."""
    seen = np.isfinite(score)
    return float(np.mean((success[seen] - score[seen]) ** 2)) if seen.any() else float("inf")


def contrasts(values: NDArray[Any], where: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """Subtract from each row its mean over the cells in ``where``: differences between experts are left."""
    seen = np.ones(values.shape, bool) if where is None else where
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    mean = np.where(seen, values, 0).sum(axis=1, keepdims=True) / count
    return np.where(seen, values - mean, 0)


def contrast_loss(success: NDArray[Any], score: NDArray[Any]) -> float:
    """Return the squared error of the contrasts between experts, the loss that chooses settings.

    The difficulty that a question has for every expert does not affect the choice between them. It
    dominates the plain squared error, which therefore favours settings (few neighbours, little shrinkage)
    that route worse.
    """
    seen = np.isfinite(score)
    error = contrasts(success, seen) - contrasts(score, seen)
    return float(np.sum(error**2) / max(seen.sum(), 1))


def inner_products(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """``rows`` [n, d] times ``matrix`` [N, d] transposed, as [n, N], each entry a dot product of its own.

    BLAS matrix products choose kernels by shape and by the number of threads, so their last bits differ
    between one row and a thousand. These do not: a served decision equals the same decision in a batch.
    """
    products: NDArray[np.float32] = np.vecdot(rows[:, None, :], matrix[None, :, :])
    return products
