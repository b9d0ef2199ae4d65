"""The direct model of the doubly robust estimate: the router's forecasts, recalibrated on other folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.off_policy.logged import LoggedTraffic
from orchestrator.off_policy.overlap import Weights

Floats = NDArray[np.float64]
Outcome = Literal["success", "cost"]
FOLDS = 5
STEADY = 10.0  # answers' worth of trust in a forecast, and in the pool's spread


@dataclass(frozen=True)
class Direct:
    """The forecast for every expert on every request, with the observed outcome."""

    of: Outcome
    outcome: Floats  # [n]; NaN where not observed
    observed: NDArray[np.bool_]  # [n]
    forecast: Floats  # [n, m]
    spread: Floats  # [m] mean square of outcome - forecast, by expert

    @classmethod
    def constant(cls, logged: LoggedTraffic, of: Outcome, *, centred: bool) -> Direct:
        """Return a constant model: 0, or with ``centred`` the observed mean."""
        outcome = _outcome(logged, of)
        observed = np.isfinite(outcome)
        level = float(outcome[observed].mean()) if centred and observed.any() else 0.0
        forecast = np.full(logged.propensity.shape, level)
        return cls(of, outcome, observed, forecast, _spread(logged, outcome, forecast, of))

    def of_chosen(self, logged: LoggedTraffic) -> Floats:
        """Forecasts [n] for the experts that were asked."""
        return np.asarray(self.forecast[np.arange(len(logged)), logged.chosen])

    def least_variance(self, policy: Floats, weights: Weights) -> float:
        """Variance of the mean by the weights that are known beforehand and each expert's spread.

        Rows show less where large weights are rare and none came yet.
        """
        n, share = len(policy), float(self.observed.mean())
        if share == 0:
            return 0.0
        expected = (policy * self.forecast).sum(axis=1)
        residual = float((weights.squared * self.spread).sum()) / n / share
        return (residual + float(expected.var())) / n

    def unknown(self, weights: Weights) -> tuple[float, float]:
        """How far below and above the estimate the truth may lie because of what the weights do not reach.

        Success lies in 0..1, whatever was forecast. Costs have no such bounds: there each expert's forecast
        may be wrong by its usual error, or, without forecasts, by the whole of it.
        """
        beyond = weights.beyond
        gained, lost = np.maximum(beyond, 0), np.maximum(-beyond, 0)
        if self.of == "cost":
            wrong = float(((gained + lost) * np.sqrt(self.spread)).sum()) / len(beyond)
            return wrong, wrong
        q = np.clip(self.forecast, 0, 1)
        below = float((gained * q + lost * (1 - q)).sum()) / len(beyond)
        above = float((gained * (1 - q) + lost * q).sum()) / len(beyond)
        return below, above


def fit_direct(logged: LoggedTraffic, of: Outcome, *, seed: int = 0) -> Direct:
    """Recalibrate the forecasts that were made at serving time.

    A recorded forecast was made before its answer, so it does not depend on its own outcome. Each expert's
    mean error, estimated on the other folds, is then removed (cross-fitting: Chernozhukov et al. 2018); a
    unit lies in a single fold. Success is shifted and cost is scaled, both shrunk towards no change if
    there are few answers.

    Args:
        logged: traffic.
        of: success, or cost in USD.
        seed: of the folds.
    """
    outcome = _outcome(logged, of)
    observed = np.isfinite(outcome)
    forecast = _complete(logged.success_hat if of == "success" else logged.cost_hat, outcome, logged.chosen)
    n, m = forecast.shape
    units = int(logged.unit.max(initial=-1)) + 1
    fold = np.random.default_rng(seed).integers(FOLDS, size=units)[logged.unit]
    own = forecast[np.arange(n), logged.chosen]
    place = (logged.chosen * FOLDS + fold)[observed]

    def others(values: Floats) -> Floats:
        """Sums [m, folds] over the other folds."""
        sums = np.bincount(place, weights=values[observed], minlength=m * FOLDS).reshape(m, FOLDS)
        return np.asarray(sums.sum(axis=1, keepdims=True) - sums)

    if of == "success":
        shift = others(outcome - own) / (others(np.ones(n)) + STEADY)
        forecast = np.clip(forecast + shift[:, fold].T, 0.0, 1.0)
    else:
        trust = STEADY * forecast.mean(axis=0)[:, None] + 1e-300
        forecast = forecast * ((others(outcome) + trust) / (others(own) + trust))[:, fold].T
    return Direct(of, outcome, observed, forecast, _spread(logged, outcome, forecast, of))


def _outcome(logged: LoggedTraffic, of: Outcome) -> Floats:
    return logged.reward if of == "success" else logged.cost_usd


def _complete(forecast: Floats, outcome: Floats, chosen: NDArray[np.intp]) -> Floats:
    """Fill cells without a forecast by the expert's mean forecast, else by its outcomes, else by all."""
    known = np.isfinite(forecast)
    counts = known.sum(axis=0)
    mean = np.where(known, forecast, 0.0).sum(axis=0) / np.maximum(counts, 1)
    seen = np.isfinite(outcome)
    level = float(outcome[seen].mean()) if seen.any() else 0.5
    m = forecast.shape[1]
    asked = np.bincount(chosen[seen], minlength=m)
    came = np.bincount(chosen[seen], weights=outcome[seen], minlength=m)
    fallback = (came + level) / (asked + 1)
    return np.where(known, forecast, np.where(counts > 0, mean, fallback))


def _spread(logged: LoggedTraffic, outcome: Floats, forecast: Floats, of: Outcome) -> Floats:
    """Mean square error by expert [m], steadied by that of all; costs relative to each expert's own size."""
    n, m = forecast.shape
    seen = np.isfinite(outcome)
    size = np.ones(m)
    if of == "cost":
        size = np.sqrt((forecast**2).mean(axis=0))
        if not (size > 0).all():
            square = np.bincount(logged.chosen[seen], weights=outcome[seen] ** 2, minlength=m)
            size = np.sqrt(
                (square + square.sum()) / (np.bincount(logged.chosen[seen], minlength=m) + seen.sum())
            )
        size = np.maximum(size, 1e-300)
    error = ((outcome - forecast[np.arange(n), logged.chosen]) / size[logged.chosen])[seen] ** 2
    pooled = (float(error.sum()) + 0.25) / (len(error) + 1)
    sums = np.bincount(logged.chosen[seen], weights=error, minlength=m)
    counts = np.bincount(logged.chosen[seen], minlength=m)
    return np.asarray(size**2 * (sums + STEADY * pooled) / (counts + STEADY))
