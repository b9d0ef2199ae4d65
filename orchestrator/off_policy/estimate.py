"""Value, cost and difference of policies on logged traffic, each with a 95% interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from orchestrator.off_policy.direct import Direct, Outcome, fit_direct
from orchestrator.off_policy.intervals import Interval, interval_of_mean
from orchestrator.off_policy.logged import LoggedTraffic
from orchestrator.off_policy.overlap import Overlap, Weights, refuse_little_overlap, weigh
from warehouse import InputError

__all__ = ["Comparison", "Estimate", "LoggedTraffic", "Method", "compare_policies", "estimate_value"]

Floats = NDArray[np.float64]
Method = Literal["dr", "snips", "ips"]
METHODS: tuple[Method, ...] = get_args(Method)
OUTCOMES: tuple[Outcome, ...] = ("success", "cost")


@dataclass(frozen=True)
class Estimate:
    """A mean over the traffic, with its 95% interval."""

    value: float
    interval: Interval
    effective_n: float  # requests at equal weights that would tell as much (Kish)
    overlap: Overlap

    @property
    def is_above(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.interval.low > 0

    @property
    def is_below(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.interval.high < 0


@dataclass(frozen=True)
class Comparison:
    """Success and cost of two policies on the same requests, and the differences (first minus second)."""

    method: Method
    requests: int
    rated: int
    success: tuple[Estimate, Estimate]
    cost_usd: tuple[Estimate, Estimate]
    success_difference: Estimate
    cost_difference: Estimate
    value_difference: Estimate  # success - multiplier * cost
    multiplier: float


def estimate_value(
    logged: LoggedTraffic,
    policy_probability: Floats,
    method: Method = "dr",
    *,
    of: Outcome = "success",
    seed: int = 0,
) -> Estimate:
    """Estimate what a policy would have earned, or cost, on the logged requests.

    Args:
        logged: traffic; only requests whose expert was drawn at random are used.
        policy_probability: [n, m] with which the policy asks each expert first; rows sum to 1.
        method: ``dr`` doubly robust (Dudik, Langford and Li 2011): the router's forecasts, recalibrated
            per expert on other folds, plus weighted residuals; ``snips`` self-normalised (Swaminathan and
            Joachims 2015); ``ips`` weighted rewards.
        of: rated success in 0..1, or cost in USD.
        seed: of the folds.

    Raises:
        InputError: shapes do not fit, or the method is unknown.
        TooFewError: too little overlap between the logged choices and those of the policy.
    """
    _check(logged, [policy_probability], method)
    keep = logged.is_randomised
    logged, policy = logged.take(keep), np.asarray(policy_probability, float)[keep]
    refuse_little_overlap(logged, policy)
    direct = _direct(logged, of, method, seed)
    return _estimate(_part(logged, direct, policy, method), *_range(of))


def compare_policies(
    logged: LoggedTraffic,
    first: Floats,
    second: Floats,
    method: Method = "dr",
    *,
    multiplier: float = 0.0,
    seed: int = 0,
) -> Comparison:
    """Compare two policies request by request; requests on which they agree do not add to the variance.

    Args:
        logged: traffic; only requests whose expert was drawn at random are used.
        first: [n, m] probabilities of the policy under test.
        second: [n, m] probabilities of the policy it is compared with.
        method: as in :func:`estimate_value`.
        multiplier: success that a dollar has to buy, for the difference in value.
        seed: of the folds.

    Raises:
        InputError: shapes do not fit, or the method is unknown.
        TooFewError: too little overlap where the two differ.
    """
    _check(logged, [first, second], method)
    keep = logged.is_randomised
    logged = logged.take(keep)
    first, second = np.asarray(first, float)[keep], np.asarray(second, float)[keep]
    refuse_little_overlap(logged, first, second)
    success, cost = (_parts(logged, of, first, second, method, seed) for of in OUTCOMES)
    return Comparison(
        method=method,
        requests=len(logged),
        rated=int(logged.rated.sum()),
        success=(_estimate(success[0], 0.0, 1.0), _estimate(success[1], 0.0, 1.0)),
        cost_usd=(_estimate(cost[0], 0.0), _estimate(cost[1], 0.0)),
        success_difference=_estimate(success[2], -1.0, 1.0),
        cost_difference=_estimate(cost[2]),
        value_difference=_estimate(success[2].less(multiplier, cost[2])),
        multiplier=multiplier,
    )


def _parts(
    logged: LoggedTraffic, of: Outcome, first: Floats, second: Floats, method: Method, seed: int
) -> tuple[_Part, _Part, _Part]:
    direct = _direct(logged, of, method, seed)
    one, other = (_part(logged, direct, policy, method) for policy in (first, second))
    return one, other, _difference(logged, direct, one, other, first - second, method)


def _direct(logged: LoggedTraffic, of: Outcome, method: Method, seed: int) -> Direct:
    if method == "dr":
        return fit_direct(logged, of, seed=seed)
    return Direct.constant(logged, of, centred=method == "snips")


@dataclass(frozen=True)
class _Part:
    """What an estimate is made of: rows whose mean it is, and what their spread does not show."""

    contribution: Floats  # [n]
    unit: NDArray[np.intp]
    least_variance: float  # of the mean, by the weights that are known
    unknown: tuple[float, float]  # what may lie below and above, as nobody tried it
    weights: Weights

    def less(self, multiplier: float, cost: _Part) -> _Part:
        price = multiplier if math.isfinite(multiplier) else 0.0
        below, above = cost.unknown
        return _Part(
            self.contribution - price * cost.contribution,
            self.unit,
            self.least_variance + price**2 * cost.least_variance,
            (self.unknown[0] + price * above, self.unknown[1] + price * below),
            self.weights,
        )


def _part(logged: LoggedTraffic, direct: Direct, policy: Floats, method: Method) -> _Part:
    """Rows of one policy's mean."""
    weights = weigh(logged, policy, direct.observed)
    contribution = _contribution(logged, direct, policy, weights, method)
    return _Part(
        contribution, logged.unit, direct.least_variance(policy, weights), direct.unknown(weights), weights
    )


def _difference(
    logged: LoggedTraffic, direct: Direct, one: _Part, other: _Part, difference: Floats, method: Method
) -> _Part:
    """Rows of a difference: one set of signed weights, so that what is common to both cancels."""
    weights = weigh(logged, difference, direct.observed)
    if method == "snips":
        contribution = one.contribution - other.contribution
    else:
        contribution = _contribution(logged, direct, difference, weights, method)
    return _Part(
        contribution,
        logged.unit,
        direct.least_variance(difference, weights),
        direct.unknown(weights),
        weights,
    )


def _contribution(
    logged: LoggedTraffic, direct: Direct, policy: Floats, weights: Weights, method: Method
) -> Floats:
    """Rows [n] whose mean is the estimate; rows without an outcome add what is forecast alone.

    The share of rows with an outcome is estimated too; its influence is taken out, which lowers the variance.
    """
    seen, weight = direct.observed, weights.weight
    share = float(seen.mean())
    if share == 0:
        return np.full(len(logged), math.nan)
    if method == "snips":
        total = float(weight[seen].sum())
        mean = float((weight[seen] * direct.outcome[seen]).sum()) / total
        scaled = np.where(seen, weight * (np.where(seen, direct.outcome, 0.0) - mean), 0.0)
        return np.asarray(mean + scaled / (share * weight[seen].mean()))
    residual = np.where(seen, direct.outcome - direct.of_chosen(logged), 0.0)
    weighted = weight * residual
    mean = float(weighted[seen].mean())
    correction = mean + np.where(seen, weighted - mean, 0.0) / share
    return np.asarray((policy * direct.forecast).sum(axis=1) + correction)


def _range(of: Outcome) -> tuple[float, float]:
    return (0.0, 1.0) if of == "success" else (0.0, math.inf)


def _estimate(part: _Part, least: float = -math.inf, most: float = math.inf) -> Estimate:
    """The mean of a part with its interval, within what is possible at all."""
    interval = interval_of_mean(part.contribution, part.unit, least_variance=part.least_variance)
    interval = interval.widened(*part.unknown)
    low, high, value = np.clip([interval.low, interval.high, part.contribution.mean()], least, most).tolist()
    return Estimate(value, Interval(low, high), part.weights.effective_n, part.weights.overlap)


def _check(logged: LoggedTraffic, policies: list[Floats], method: str) -> None:
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}", where="--method", fix=f"use {', '.join(METHODS)}")
    for policy in policies:
        if np.shape(policy) != logged.propensity.shape:
            raise InputError(
                f"a policy is {np.shape(policy)}, the traffic {logged.propensity.shape}", where="policy"
            )
        if len(logged) and not np.allclose(np.sum(policy, axis=1), 1.0, atol=1e-6):
            raise InputError("the probabilities of a policy do not sum to 1", where="policy")
