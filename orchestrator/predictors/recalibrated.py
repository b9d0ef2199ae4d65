"""A fitted predictor, corrected by the outcomes of served traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Predictor, Rebuild, inner_products
from orchestrator.predictors.knn import principal_axes
from orchestrator.predictors.linear import standardise
from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, Queries

COMPONENTS = 16  # leading directions in which queries differ
FARTHEST = 3.0  # deviations of a surface feature beyond which a query counts as this far
TYPICAL_LEVEL = (0.7, 0.3)  # centre and scale of the mean forecast of a query

#: Prior deviations of a correction that are tried, and averaged by their evidence: of the part that all
#: experts share, of each expert's own, how far it may vary with the query, and the labels after which what
#: was seen weighs half as much.
COMMON = (0.02, 0.1, 0.25)
OWN = (0.005, 0.03, 0.08, 0.16)
VARYING = (0.3, 0.6, 1.0)
HALF_LIVES = (4_000.0, np.inf)
ALIKE = 0.08  # variance of what experts miss alike on a request: how hard it is beyond what can be read of it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Noisy success of single experts on single requests, one cell each, in any order."""

    row: NDArray[np.intp]  # [c] of the queries
    expert: NDArray[np.intp]  # [c] column
    success: Floats  # [c] unbiased; noise may take it outside [0, 1]
    variance: Floats  # [c] of that noise, above 0
    age: Floats  # [c] requests served since


class RecalibratedPredictor:
    """Success = another predictor's forecast + a linear correction, learned from sparse, noisy outcomes.

    A Bayesian linear mixed model. The correction of an expert is the sum of a part shared by all experts
    and a part of its own, each linear in an intercept, the query's mean forecast, its surface features and
    the leading principal components of its embedding. A random effect per request absorbs the error that
    all experts share there, so that several answers to one request mainly tell which expert does better. A
    label of one expert informs the corrections of all, and experts with few labels keep the forecast. The
    scale of the corrections and the rate at which labels age are averaged over a grid, weighted by the
    evidence (MacKay, *Bayesian interpolation*, 1992). If the forecasts hold, the corrections vanish.
    """

    kind: ClassVar[str] = "recalibrated"

    def __init__(self, base: Predictor, known: Queries) -> None:
        """Correct ``base``, which is not changed; ``known`` are the queries it learned from."""
        self.base = base
        embeddings = known.embeddings
        self._centre = embeddings.mean(axis=0)
        self._axes = principal_axes(embeddings - self._centre, COMPONENTS)
        reach = ((embeddings - self._centre) @ self._axes.T).std(axis=0)
        self._reach = np.float32(max(float(reach.max(initial=0.0)), 1e-6))
        _, mean, deviation = standardise(known.surface.astype(np.float64))
        self._surface = np.stack([mean, deviation]).astype(np.float32)
        width = 2 + known.surface.shape[1] + len(self._axes)
        self._weights = np.zeros((len(base.experts), width), np.float32)
        self._covariance = np.zeros((len(base.experts), width, width), np.float32)

    @property
    def experts(self) -> tuple[str, ...]:
        """The pool, in the order of the columns."""
        return self.base.experts

    def learn(self, queries: Queries, forecast: NDArray[np.float32], seen: Seen) -> Self:
        """Learn the corrections from these cells alone, given the forecasts of ``base``."""
        features = self._read(queries, forecast).astype(np.float64)
        residual = seen.success - forecast[seen.row, seen.expert]
        fits = list(_fit_grid(features, seen, residual, len(queries), len(self.experts)))
        evidence = np.array([fit.evidence for fit in fits])
        share = np.exp(evidence - evidence.max())
        share /= share.sum()
        kept = [(s, fit) for s, fit in zip(share, fits, strict=True) if s > 1e-3]
        total = sum(s for s, _ in kept)
        self._weights = (sum(s * fit.weights() for s, fit in kept) / total).astype(np.float32)
        self._covariance = (sum(s * fit.covariance() for s, fit in kept) / total).astype(np.float32)
        return self

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Fit ``base``; the corrections are kept."""
        self.base = self.base.fit(train, validation, seed=seed)
        return self

    def refit(self, examples: Examples) -> Self:
        """Refit ``base``; the corrections are kept."""
        self.base = self.base.refit(examples)
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m]."""
        return self.correct(queries, self.base.predict(queries))

    def correct(self, queries: Queries, forecast: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return expected success [n, m], given the forecasts of ``base``."""
        success = forecast + inner_products(self._read(queries, forecast), self._weights)
        # Beyond 1 or below 0 it is the level that is wrong: cutting off would level the experts too.
        success = success - np.maximum(success.max(axis=1, keepdims=True) - 1, 0)
        success = success + np.maximum(-success.min(axis=1, keepdims=True), 0)
        clipped: NDArray[np.float32] = np.clip(success, 0, 1)
        return clipped

    def uncertainty(self, queries: Queries, forecast: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the standard deviation [n, m] of the corrections, given the forecasts of ``base``."""
        features = self._read(queries, forecast)
        variance = np.stack([((features @ own) * features).sum(axis=1) for own in self._covariance], axis=1)
        deviation: NDArray[np.float32] = np.sqrt(np.maximum(variance, 0))
        return deviation

    def state(self) -> State:
        """Return the state of ``base`` and the corrections."""
        base = self.base.state()
        arrays: dict[str, NDArray[Any]] = {
            "centre": self._centre,
            "axes": self._axes,
            "reach": np.array([self._reach]),
            "surface": self._surface,
            "weights": self._weights,
            "covariance": self._covariance,
            **base.prefixed("base"),
        }
        return State(self.kind, {"experts": list(self.experts), "base": base.header()}, arrays)

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted predictor."""
        own = cls.__new__(cls)
        own.base = rebuild(state.part(state.config["base"], "base"))
        own._centre, own._axes = state.arrays["centre"], state.arrays["axes"]
        own._reach, own._surface = state.arrays["reach"][0], state.arrays["surface"]
        own._weights, own._covariance = state.arrays["weights"], state.arrays["covariance"]
        return own

    def _read(self, queries: Queries, forecast: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features [n, k] of a correction, each about as large as the intercept."""
        places = inner_products(queries.embeddings - self._centre, self._axes) / self._reach
        surface = np.clip((queries.surface - self._surface[0]) / self._surface[1], -FARTHEST, FARTHEST)
        centre, scale = TYPICAL_LEVEL
        level = (forecast.mean(axis=1, keepdims=True) - np.float32(centre)) / np.float32(scale)
        one = np.ones((len(queries), 1), np.float32)
        return np.hstack([one, level, surface / np.float32(FARTHEST), places]).astype(np.float32)


@dataclass(frozen=True)
class _Fit:
    """The posterior under one prior: coefficients of the shared part, then of each expert's own, scaled."""

    scale: Floats  # [2, k] prior deviations: of the shared part, of an own one
    mean: Floats  # [(m + 1) k]
    precision: Floats  # [(m + 1) k, (m + 1) k]
    evidence: float

    def weights(self) -> Floats:
        """Mean correction per expert [m, k]."""
        shared, own = np.split(self.mean.reshape(-1, self.scale.shape[1]), [1])
        weights: Floats = shared * self.scale[0] + own * self.scale[1]
        return weights

    def covariance(self) -> Floats:
        """Covariance of each expert's correction [m, k, k]."""
        k = self.scale.shape[1]
        whole = np.linalg.inv(self.precision).reshape(-1, k, len(self.mean) // k, k).swapaxes(1, 2)
        shared, own = self.scale
        parts = [
            whole[0, 0] * np.outer(shared, shared)
            + whole[j, j] * np.outer(own, own)
            + whole[0, j] * np.outer(shared, own)
            + whole[j, 0] * np.outer(own, shared)
            for j in range(1, len(whole))
        ]
        return np.stack(parts)


def _fit_grid(features: Floats, seen: Seen, residual: Floats, rows: int, experts: int) -> Iterator[_Fit]:
    """Solve the model at each prior of the grid; sums over requests are made once per half-life.

    Args:
        features: [rows, k] of the requests.
        seen: the cells.
        residual: [c] their success less its forecast.
        rows: how many requests there are.
        experts: how many experts.
    """
    k = features.shape[1]
    at = seen.row * experts + seen.expert
    for half_life in HALF_LIVES:
        weight = 2 ** (-seen.age / half_life) / seen.variance
        # of several labels of one cell their weighted mean
        mass = np.bincount(at, weight, minlength=rows * experts).reshape(rows, experts)
        total = np.bincount(at, weight * residual, minlength=rows * experts).reshape(rows, experts)
        shared = 1 / (1 / ALIKE + mass.sum(axis=1))  # what all experts of a request miss alike is taken off
        precision = np.empty((experts, k, experts, k))
        for i in range(experts):
            for j in range(i, experts):
                pull = mass[:, i] * (i == j) - mass[:, i] * mass[:, j] * shared
                precision[i, :, j, :] = (features * pull[:, None]).T @ features
                precision[j, :, i, :] = precision[i, :, j, :].T
        moment = ((total - mass * (shared * total.sum(axis=1))[:, None]).T @ features).ravel()
        square = float((weight * residual**2).sum() - (shared * total.sum(axis=1) ** 2).sum())
        spread = float(np.log1p(ALIKE * mass.sum(axis=1)).sum() - np.log(weight).sum())
        flat = precision.reshape(experts * k, experts * k)
        for common, own, share in product(COMMON, OWN, VARYING):
            varying = np.concatenate([[1.0], np.full(k - 1, share)])
            scale = np.stack([common * varying, own * varying])
            yield _solve(scale, flat, moment, -0.5 * (square + spread))


def _solve(scale: Floats, gram: Floats, moments: Floats, constant: float) -> _Fit:
    """Of the sums over requests, by expert: the posterior of the shared part and of the own ones."""
    m = len(moments) // scale.shape[1]
    shared, own = scale[0], np.tile(scale[1], m)
    k, wide = len(shared), len(own)
    summed = gram.reshape(m, k, wide).sum(axis=0)  # the shared part meets all experts at once
    precision = np.empty((k + wide, k + wide))
    precision[:k, :k] = summed.reshape(k, m, k).sum(axis=1) * np.outer(shared, shared)
    precision[:k, k:] = summed * np.outer(shared, own)
    precision[k:, :k] = precision[:k, k:].T
    precision[k:, k:] = gram * np.outer(own, own)
    precision[np.diag_indices_from(precision)] += 1.0
    moment = np.concatenate([moments.reshape(m, k).sum(axis=0) * shared, moments * own])
    mean = np.asarray(np.linalg.solve(precision, moment), np.float64)
    log_determinant = float(np.linalg.slogdet(precision)[1])
    return _Fit(scale, mean, precision, constant + 0.5 * float(moment @ mean) - 0.5 * log_determinant)
