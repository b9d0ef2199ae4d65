"""Sequential analysis of a running canary: intervals that stay valid however often one looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from orchestrator.off_policy.intervals import Interval

Floats = NDArray[np.float64]


class CanaryDecision(StrEnum):
    """The decision on the challenger."""

    PROMOTE = "promote"
    STOP = "stop"
    GO_ON = "go on"


@dataclass(frozen=True)
class CanaryLog:
    """``n`` units in the order in which their outcomes became known: each conversation, or text, once."""

    challenger: NDArray[np.bool_]  # [n] drawn for the challenger, whoever decided in the end
    share: Floats  # [n] probability of being drawn for it, strictly between 0 and 1
    reward: Floats  # [n] in [0, 1]; NaN where nobody rated the answer
    cost_usd: Floats  # [n]
    rated: NDArray[np.intp] | None = (
        None  # rated units in the order in which ratings came; else that of units
    )


@dataclass(frozen=True)
class CanaryRule:
    """The settings of the test."""

    multiplier: float  # success that a dollar has to buy: the champion's
    error: float = 0.05  # chance of ever saying so of two versions that are equal
    least_units: int = 50  # of either side, before anything is said
    most_units: int = 100_000  # of both together; undecided then, the challenger is stopped


@dataclass(frozen=True)
class CanaryJudgement:
    """A verdict and its intervals (challenger minus champion), valid at any number of looks."""

    verdict: CanaryDecision
    why: str
    success: Interval
    cost_usd: Interval
    value: Interval  # success - multiplier * cost
    champion_units: int
    challenger_units: int
    rated: int


def judge_canary(log: CanaryLog, rule: CanaryRule) -> CanaryJudgement:
    """Judge the challenger by the canary so far.

    It is promoted if the whole interval of the difference in value, success - multiplier * cost, lies above
    0, and stopped if it lies below 0 or if the canary ends undecided. Success is bounded, so that its
    interval is valid at every sample size (:func:`bounds_of_bounded`). Cost is not; its interval is valid
    from some tens of units on (:func:`bounds_of_unbounded`). Each interval gets half of the error
    probability.
    """
    success, cost = _bounds(log, rule)
    ends = [
        Interval(float(low[-1]), float(high[-1])) if low.size else _NOTHING for low, high in (success, cost)
    ]
    value = _value(ends[0], ends[1], rule.multiplier)
    challengers = int(log.challenger.sum())
    champions = len(log.challenger) - challengers
    verdict, why = _decide(value, min(challengers, champions), challengers + champions, rule)
    return CanaryJudgement(
        verdict, why, ends[0], ends[1], value, champions, challengers, int(np.isfinite(log.reward).sum())
    )


def replay_canary(log: CanaryLog, rule: CanaryRule) -> list[CanaryDecision]:
    """Return the verdict of :func:`judge_canary` after each unit [n], as if one looked every time."""
    success, cost = _bounds(log, rule)
    rated = np.cumsum(np.isfinite(log.reward)) - 1
    price = _price(rule.multiplier)
    low, high = (np.append(side, end)[rated] for side, end in zip(success, (-np.inf, np.inf), strict=True))
    if price:
        low, high = low - price * cost[1], high - price * cost[0]
    challengers = np.cumsum(log.challenger)
    total = np.arange(1, len(log.challenger) + 1)
    ready = np.minimum(challengers, total - challengers) >= rule.least_units
    said = np.full(len(total), CanaryDecision.GO_ON, object)
    said[total >= rule.most_units] = CanaryDecision.STOP
    said[ready & (low > 0)] = CanaryDecision.PROMOTE
    said[ready & (high < 0)] = CanaryDecision.STOP
    return list(said)


def bounds_of_bounded(x: Floats, error: float) -> tuple[Floats, Floats]:
    """Return lower and upper bounds [..., t] of the mean of x [..., t] in [-1, 1], valid at all t at once.

    The predictable plug-in empirical-Bernstein confidence sequence (Waudby-Smith and Ramdas 2024, *Estimating
    means of bounded random variables by betting*, theorem 2), with the running intersection that it allows.
    """
    y = (np.asarray(x, float) + 1) / 2
    t = np.arange(1, y.shape[-1] + 1)
    mean = (0.5 + np.cumsum(y, axis=-1)) / (t + 1)
    spread = (0.25 + np.cumsum((y - mean) ** 2, axis=-1)) / (t + 1)
    before = _shift(spread, 0.25)
    bet = np.minimum(np.sqrt(2 * math.log(2 / error) / (before * t * np.log1p(t))), 0.5)
    paid = (y - _shift(mean, 0.5)) ** 2 * (-np.log1p(-bet) - bet)
    staked = np.cumsum(bet, axis=-1)
    centre = np.cumsum(bet * y, axis=-1) / staked
    radius = (math.log(2 / error) + np.cumsum(paid, axis=-1)) / staked
    low = np.maximum.accumulate(np.maximum(centre - radius, 0.0), axis=-1)
    high = np.minimum.accumulate(np.minimum(centre + radius, 1.0), axis=-1)
    return 2 * low - 1, 2 * high - 1


def bounds_of_unbounded(
    x: Floats, error: float, *, least_spread: Floats | float = 0.0, aimed_at: int = 1000
) -> tuple[Floats, Floats]:
    """Return bounds [..., t] of the mean of x [..., t], asymptotically valid at all t at once.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, *Time-uniform
    central limit theory and asymptotic confidence sequences*, theorem 2.2), narrowest at ``aimed_at`` rows.

    Args:
        x: rows.
        error: probability that the bounds ever miss.
        least_spread: lower bound [..., t] on the standard deviation of the rows, from other knowledge.
        aimed_at: number of rows at which the bounds are narrowest.
    """
    x = np.asarray(x, float)
    t = np.arange(1, x.shape[-1] + 1)
    mean = np.cumsum(x, axis=-1) / t
    spread = np.sqrt(np.maximum(np.cumsum(x**2, axis=-1) / t - mean**2, 0.0))
    spread = np.maximum(spread, least_spread)
    spread[..., :1] = np.inf  # one row shows no spread
    stakes = -2 * math.log(error)
    rho2 = (stakes + math.log(stakes + 1)) / aimed_at
    grown = t * rho2 + 1
    radius = spread * np.sqrt(2 * grown / (t**2 * rho2) * np.log(np.sqrt(grown) / error))
    return mean - radius, mean + radius


_NOTHING = Interval(-math.inf, math.inf)


def _bounds(log: CanaryLog, rule: CanaryRule) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Bounds of the differences in success [rated] and in cost [n], after each unit."""
    rated = np.flatnonzero(np.isfinite(log.reward)) if log.rated is None else log.rated
    error = rule.error / 2 if _price(rule.multiplier) else rule.error
    if not len(log.cost_usd):
        empty = np.empty(0)
        return (empty, empty), (empty, empty)
    scale = float(np.minimum(log.share, 1 - log.share).min())
    drawn = _differences(log.challenger[rated], log.share[rated], log.reward[rated], 0.5)
    low, high = bounds_of_bounded(drawn * scale, error)
    # No difference between two scores in 0..1 is larger than 1.
    success = np.maximum(low / scale, -1.0), np.minimum(high / scale, 1.0)
    costs = _differences(log.challenger, log.share, log.cost_usd, 0.0)
    return success, bounds_of_unbounded(costs, rule.error / 2, least_spread=_cost_spread(log))


def _cost_spread(log: CanaryLog) -> Floats:
    """Standard deviation [n] of what each unit says of the difference, by the costs of both sides together.

    The side with few units has not seen yet how dear an answer may be, and would look cheap; the other has.
    """
    t = np.arange(1, len(log.cost_usd) + 1)
    variance = np.cumsum(log.cost_usd**2) / t - (np.cumsum(log.cost_usd) / t) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) * np.cumsum(1 / (log.share * (1 - log.share))) / t))


def _differences(challenger: NDArray[np.bool_], share: Floats, outcome: Floats, level: float) -> Floats:
    """What each unit says of the difference: (drawn - share) (outcome - level) / (share (1 - share)).

    Its mean is the difference whatever the level; the running mean of what came before makes it spread least.
    """
    t = np.arange(1, len(outcome) + 1)
    before = _shift((level + np.cumsum(outcome)) / (t + 1 if level else t), level)
    return np.asarray((challenger - share) / (share * (1 - share)) * (outcome - before))


def _shift(values: Floats, first: float) -> Floats:
    """What was known before each row."""
    return np.concatenate([np.full_like(values[..., :1], first), values[..., :-1]], axis=-1)


def _value(success: Interval, cost: Interval, multiplier: float) -> Interval:
    price = _price(multiplier)
    if not price:
        return success
    return Interval(success.low - price * cost.high, success.high - price * cost.low)


def _price(multiplier: float) -> float:
    return multiplier if math.isfinite(multiplier) else 0.0


def _decide(value: Interval, least: int, units: int, rule: CanaryRule) -> tuple[CanaryDecision, str]:
    if least >= rule.least_units:
        if value.low > 0:
            return CanaryDecision.PROMOTE, "it is worth more than the champion"
        if value.high < 0:
            return CanaryDecision.STOP, "it is worth less than the champion"
    if units >= rule.most_units:
        return CanaryDecision.STOP, f"undecided after {units:,} units"
    if least < rule.least_units:
        return CanaryDecision.GO_ON, f"only {least} units on one side (at least {rule.least_units})"
    return CanaryDecision.GO_ON, "no difference is shown yet"
