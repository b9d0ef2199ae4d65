"""The bills of served requests, and the corrections of cost forecasts that follow from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.cost import CostPredictor
from orchestrator.text.queries import Queries
from orchestrator.traffic.labels import inverse_propensity

FEWEST = 30  # bills of an expert below which its forecasts stay
TRUST = 10.0  # answers' worth of belief in the forecast
PARTS = 6  # of the past, each foretold from those before it
CERTAIN = 1.645  # standard errors by which later bills have to be foretold better: 5%, one-sided
ROUNDING = 1e-9  # of deviances: bills that are what was forecast to the last digits prove nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bills:
    """The costs of ``n`` answers, oldest first. What other experts would have cost is unknown.

    ``propensity`` is the chance with which that expert was to be asked first; 1 where it was named.
    """

    queries: Queries  # [n] the requests
    experts: tuple[str, ...]  # [m]
    expert: NDArray[np.intp]  # [n] column: whose answer
    cost_usd: Floats  # [n]
    propensity: Floats  # [n] in (0, 1]

    def __len__(self) -> int:
        return len(self.cost_usd)

    def fingerprint(self) -> str:
        """Return a hash (16 hex digits) of the bills, which identifies the training data."""
        digest = hashlib.sha256("\n".join(self.experts).encode())
        for part in (self.queries.embeddings, self.expert, self.cost_usd):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class CostLesson:
    """The correction of each expert's cost forecasts by its bills."""

    ratio: Floats  # [m] of bills to forecasts, 1 where nothing is changed
    bills: NDArray[np.intp]  # [m]
    proven: NDArray[np.bool_]  # [m] whether the ratio foretold later bills better than the forecasts did

    def describe(self, experts: tuple[str, ...]) -> dict[str, Any]:
        """Return the number of bills and the ratio of each expert, for the description of a router."""
        return {
            name: {"bills": int(n), "ratio": float(ratio), "learned": bool(ok)}
            for name, n, ratio, ok in zip(experts, self.bills, self.ratio, self.proven, strict=True)
        }


def learn_costs(cost: CostPredictor, bills: Bills) -> CostLesson:
    """Estimate the ratio of each expert's bills to its forecasts, and keep it if it predicts later bills.

    An expert has bills for the requests it was chosen for, where its forecast tended to be low. So each
    bill is weighted by its clipped inverse propensity. The ratio is one of sums, with a prior of ten
    answers at the forecast. It is kept if, learned from earlier bills alone, it improved the forecasts of
    later ones by gamma deviance (McCullagh and Nelder, *Generalized Linear Models*, 1989), which is minimal
    at the mean and independent of scale.

    Args:
        cost: the predictor learned from outcomes; it is not changed.
        bills: of the experts in its pool, in the same order.
    """
    forecast = cost.predict(bills.queries)[np.arange(len(bills)), bills.expert]
    m = len(cost.experts)
    ratio, count, proven = np.ones(m), np.zeros(m, np.intp), np.zeros(m, bool)
    for j in range(m):
        own = (bills.expert == j) & (forecast > 0) & np.isfinite(bills.cost_usd)
        count[j] = own.sum()
        if count[j] < FEWEST:
            continue
        billed, told = bills.cost_usd[own] / forecast[own].mean(), forecast[own] / forecast[own].mean()
        weight = inverse_propensity(bills.propensity[own])
        if _foretells(billed, told, weight):
            proven[j], ratio[j] = True, _ratio(billed, told, weight)
    return CostLesson(ratio, count, proven)


def _ratio(billed: Floats, told: Floats, weight: Floats) -> float:
    """Of bills to forecasts, both in units of the mean forecast."""
    return float((weight @ billed + TRUST) / (weight @ told + TRUST))


def _foretells(billed: Floats, told: Floats, weight: Floats) -> bool:
    """Did ratios learned from earlier bills make the forecasts of later ones better?"""
    parts = np.array_split(np.arange(len(billed)), PARTS)
    gains = []
    for number in range(1, PARTS):
        past, fresh = np.concatenate(parts[:number]), parts[number]
        ratio = _ratio(billed[past], told[past], weight[past])
        # deviance under the forecast less that under what was learned; logarithms of the bills cancel
        gain = billed[fresh] / told[fresh] * (1 - 1 / ratio) - np.log(ratio)
        gains.append(weight[fresh] * gain)
    gain = np.concatenate(gains)
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5
    return bool(gain.mean() > CERTAIN * error + ROUNDING)
