"""Expected cost of an answer, per expert and query, before it is asked for."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import inner_products
from orchestrator.predictors.linear import solve_ridge, standardise
from orchestrator.predictors.states import State
from orchestrator.text.novelty import Novelty
from orchestrator.text.queries import Examples, Queries
from warehouse import InputError

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 1e6)  # the last is nearly the plain mean
VERSION = 1  # of the state
FLOOR, CEILING = 0.05, 20.0  # a predicted cost stays within these multiples of the expert's mean


class CostPredictor:
    """Ridge regression of cost relative to the expert's mean, on length, surface features and embedding.

    Prompt tokens depend on the length of the text, completion tokens on the kind of question. An expert
    with the same cost on every query keeps that cost exactly. On a query unlike those learned from, the
    ratios of all experts to their means are drawn together.
    """

    kind: ClassVar[str] = "ridge-cost"
    _novelty: Novelty | None = None

    @property
    def overrun(self) -> NDArray[np.float64]:
        """The largest ratio [m] of actual to predicted cost among the training questions; at least 1.

        Another answer of the same kind exceeds it with probability 1 / (n + 1) for n training questions
        (conformal prediction; Vovk, Gammerman and Shafer 2005). NaN for routers saved before it was
        recorded.
        """
        return self._overrun

    def fit(self, train: Examples, validation: Examples) -> Self:
        """Learn costs from ``train``; the penalty is chosen on ``validation``.

        Raises:
            InputError: an expert has answers but no known cost.
        """
        cost = train.outcomes.cost_usd
        self.experts = train.outcomes.experts
        for name, score, own in zip(self.experts, train.outcomes.score.T, cost.T, strict=True):
            _refuse_unpriced(name, score, own)
        with np.errstate(invalid="ignore"):
            count = np.isfinite(cost).sum(axis=0)
            self._mean = np.nansum(cost, axis=0) / np.maximum(count, 1)
            spread = np.nan_to_num(
                np.nanmax(np.where(count > 0, cost, 0.0), axis=0)
                - np.nanmin(np.where(count > 0, cost, 0.0), axis=0)
            )
        varies = spread > 1e-9 * self._mean
        features, self._centre, self._scale = standardise(_features(train.queries))
        relative = np.where(varies, cost / np.where(self._mean > 0, self._mean, 1.0) - 1, np.nan)
        weights = solve_ridge(features, relative, PENALTIES)
        losses = []
        for w in weights:
            self._weights = np.ascontiguousarray(w.T, dtype=np.float32)
            error = (self.predict(validation.queries) - validation.outcomes.cost_usd) / np.where(
                self._mean > 0, self._mean, 1.0
            )
            losses.append(np.nanmean(error**2) if np.isfinite(error).any() else 0.0)
        self._weights = np.ascontiguousarray(weights[int(np.argmin(losses))].T, dtype=np.float32)
        self._novelty = Novelty.of(train.queries)
        parts = [
            largest_ratio(part.outcomes.cost_usd, self.predict(part.queries)) for part in (train, validation)
        ]
        self._overrun = np.maximum(*parts)
        return self

    def predict(self, queries: Queries) -> NDArray[np.float64]:
        """Return expected cost in USD [n, m]."""
        features = ((_features(queries) - self._centre) / self._scale).astype(np.float32)
        factor = 1.0 + inner_products(features, self._weights).astype(np.float64)
        factor = np.clip(factor, FLOOR, CEILING)
        varies = self._weights.any(axis=1)
        if self._novelty is not None and varies.any():
            trust = self._novelty.trust(queries)
            factor[:, varies] = np.exp(_drawn_together(np.log(factor[:, varies]), trust))
        expected: NDArray[np.float64] = self._mean * factor
        return expected

    def add_expert(self, name: str, queries: Queries, cost_usd: NDArray[np.float64]) -> None:
        """Add an expert by its mean cost on some queries [n]; its costs vary as the known experts' do.

        Raises:
            InputError: no cost is known.
        """
        _refuse_unpriced(name, np.zeros(len(cost_usd)), cost_usd)
        seen = np.isfinite(cost_usd)
        shape = (
            self._weights.mean(axis=0, keepdims=True) if len(self._weights) else np.zeros((0, 0), np.float32)
        )
        constant = float(np.ptp(cost_usd[seen])) <= 1e-9 * float(cost_usd[seen].mean())
        row = np.zeros_like(shape) if constant else shape
        self._weights = np.vstack([self._weights, row])
        self._mean = np.append(self._mean, float(cost_usd[seen].mean()))
        self.experts = (*self.experts, name)
        own = largest_ratio(cost_usd[:, None], self.predict(queries)[:, -1:])
        # few probes show few overruns: those of the known experts may come
        known = np.nanmax(self._overrun, initial=1.0, where=np.isfinite(self._overrun))
        self._overrun = np.append(self._overrun, own if constant else np.maximum(own, known))

    def rescale(self, ratio: NDArray[np.float64], queries: Queries, cost_usd: NDArray[np.float64]) -> None:
        """Multiply each expert's forecasts by a ratio [m]; ``cost_usd`` [n, m] is what some queries cost.

        The largest known overrun does not decrease.
        """
        self._mean = self._mean * ratio
        self._overrun = np.maximum(self._overrun, largest_ratio(cost_usd, self.predict(queries)))

    def remove_expert(self, name: str) -> None:
        """Remove an expert."""
        keep = [i for i, known in enumerate(self.experts) if known != name]
        self.experts = tuple(self.experts[i] for i in keep)
        self._weights, self._mean = self._weights[keep], self._mean[keep]
        self._overrun = self._overrun[keep]

    def state(self) -> State:
        """Return the fitted weights."""
        arrays = {
            "weights": self._weights,
            "mean": self._mean,
            "centre": self._centre,
            "scale": self._scale,
            "overrun": self._overrun,
        }
        if self._novelty is not None:
            arrays |= self._novelty.arrays()
        return State(self.kind, {"experts": list(self.experts)}, arrays, VERSION)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild a fitted cost predictor."""
        state.refuse_newer(VERSION)
        cost = cls()
        cost.experts = tuple(state.config["experts"])
        cost._weights, cost._mean = state.arrays["weights"], state.arrays["mean"]
        cost._centre, cost._scale = state.arrays["centre"], state.arrays["scale"]
        cost._novelty = Novelty.from_arrays(state.arrays)
        cost._overrun = state.arrays.get("overrun", np.full(len(cost.experts), np.nan))
        return cost


def largest_ratio(cost_usd: NDArray[np.float64], predicted_usd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest ratio [m] of what answers cost to what was predicted, both [n, m]; at least 1."""
    ratio = np.ones(cost_usd.shape)
    np.divide(cost_usd, predicted_usd, out=ratio, where=np.isfinite(cost_usd) & (predicted_usd > 0))
    largest: NDArray[np.float64] = ratio.max(axis=0, initial=1.0)
    return largest


def _refuse_unpriced(name: str, score: NDArray[np.floating], cost_usd: NDArray[np.floating]) -> None:
    if np.isfinite(score).any() and not np.isfinite(cost_usd).any():
        raise InputError(
            f"no answer of {name} has a cost",
            fix="leave it out of the pool, or have its API tell the tokens that it used",
        )


def _features(queries: Queries) -> NDArray[np.float64]:
    """Length itself, the surface, the embedding: [n, 1 + s + d]."""
    characters = np.exp(queries.surface[:, :1].astype(np.float64))
    return np.hstack([characters, queries.surface, queries.embeddings]).astype(np.float64)


def _drawn_together(values: NDArray[np.floating], trust: NDArray[np.float32]) -> NDArray[np.floating]:
    """Draw the columns of ``values`` [n, m] to their mean in each row, as far as it is not trusted [n]."""
    centre = values.mean(axis=1, keepdims=True)
    drawn: NDArray[np.floating] = centre + trust[:, None] * (values - centre)
    return drawn
