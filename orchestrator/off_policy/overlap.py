"""Overlap of the logged choices with a policy: importance weights, their clipping, and when to refuse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.off_policy.logged import LoggedTraffic
from warehouse import TooFewError

Floats = NDArray[np.float64]

#: Rated requests, at equal weights, that have to speak for what a policy does otherwise than was done.
LEAST_EFFECTIVE_N = 5.0
#: Of the traffic: more of it than this may not be left to forecasts and worst cases.
MOST_UNTRIED = 0.2
CLIPS = np.geomspace(2.0, 1e5, 40)


@dataclass(frozen=True)
class Overlap:
    """Properties of an estimate that follow from the weights alone, before any outcome is seen."""

    differs: float  # share of the traffic on which the policy, or the two, do otherwise than was done
    untried: float  # share of the traffic that no clipped weight reaches
    largest_weight: float
    clip: float


@dataclass(frozen=True)
class Weights:
    """Importance weights of the chosen experts, clipped."""

    weight: Floats  # [n]; signed where they are of a difference
    squared: Floats  # [n, m] what is expected of weight^2 at each expert, by the propensities alone
    beyond: Floats  # [n, m] probability that is left when the weights are clipped, or nobody was tried
    effective_n: float
    overlap: Overlap


def weigh(logged: LoggedTraffic, policy: Floats, observed: NDArray[np.bool_]) -> Weights:
    """Return the importance weights of a policy, or of a difference of two, over the logged choices.

    Weights are clipped at the value that makes the interval narrowest. Propensities are known, so the mass
    that clipping cuts off is known exactly; the interval covers its worst case, and so hides no bias
    (bias-aware intervals: Armstrong and Kolesar 2018). The clip depends on propensities only, never on
    outcomes.

    Args:
        logged: traffic.
        policy: [n, m] probabilities, or differences of them.
        observed: [n] where the outcome is known.
    """
    n = len(logged)
    propensity, rows = logged.propensity, np.arange(n)
    raw = np.divide(np.abs(policy), propensity, out=np.full_like(policy, np.inf), where=propensity > 0)
    raw[policy == 0] = 0.0
    clip = _best_clip(raw, policy, propensity, max(int(observed.sum()), 1))
    clipped = np.sign(policy) * np.minimum(raw, clip)
    clipped[propensity <= 0] = 0.0
    weight = clipped[rows, logged.chosen]
    beyond = policy - clipped * propensity
    beyond[np.abs(beyond) < 1e-12] = 0.0
    total = float((weight[observed] ** 2).sum())
    return Weights(
        weight=weight,
        squared=propensity * clipped**2,
        beyond=beyond,
        effective_n=float(np.abs(weight[observed]).sum()) ** 2 / total if total > 0 else 0.0,
        overlap=Overlap(
            differs=float((np.abs(policy).sum(axis=1) > 0).mean()) if n else 0.0,
            untried=float(np.abs(beyond).sum(axis=1).mean()) if n else 0.0,
            largest_weight=float(np.abs(weight).max(initial=0.0)),
            clip=clip,
        ),
    )


def _best_clip(raw: Floats, policy: Floats, propensity: Floats, observed: int) -> float:
    """The clip at which sampling error and untried share together are least: outcomes are taken to spread by
    a half, which is the most that they can in 0..1.
    """
    mass, tried = np.abs(policy), np.isfinite(raw)
    used = (mass > 0) & tried
    weight, probability = raw[used], propensity[used]
    if not weight.size:
        return float(CLIPS[0])
    order = np.argsort(weight)
    weight, probability = weight[order], probability[order]
    first, second = (np.append(0.0, np.cumsum(probability * weight**power)) for power in (1, 2))
    above = np.append(np.cumsum(probability[::-1])[::-1], 0.0)  # probability of weights from this one on
    place = np.searchsorted(weight, CLIPS)
    error = np.sqrt((second[place] + CLIPS**2 * above[place]) / len(raw) / observed)
    lost = (first[-1] - first[place] - CLIPS * above[place]) / len(raw)
    return float(CLIPS[int(np.argmin(1.96 * 0.5 * error + 0.5 * lost))])


def refuse_little_overlap(logged: LoggedTraffic, first: Floats, second: Floats | None = None) -> None:
    """See that enough was tried of what a policy does otherwise than the one that was served, or than
    another.

    Told by the propensities and the number of ratings, not by what was rated.

    Raises:
        TooFewError: too little; says which share of requests exploring would have to have.
    """
    where = "overlap of the traffic with the versions"
    n, rated = len(logged), int(logged.rated.sum())
    if n == 0:
        raise TooFewError(
            "no request was routed at random: the router tried nothing but its own choices",
            where=where,
            fix="let the endpoint explore: `leeroo serve --explore-share 0.05`",
        )
    if rated < LEAST_EFFECTIVE_N:
        raise TooFewError(
            f"only {rated} of {n:,} requests were rated",
            where=where,
            fix=f"at least {LEAST_EFFECTIVE_N:.0f} ratings are needed, better hundreds: "
            "feedback, or judged shadow answers (`leeroo learn`)",
        )
    sides = [first] if second is None else [np.maximum(first - second, 0), np.maximum(second - first, 0)]
    for side in sides:
        mass = float(side.sum()) / n
        if mass == 0:
            continue
        weights = weigh(logged, side, logged.rated)
        effective = _expected_effective_n(weights, side, rated)
        untried = weights.overlap.untried
        if effective < LEAST_EFFECTIVE_N or untried > MOST_UNTRIED:
            raise TooFewError(
                f"too little overlap: the choices differ on {mass:.0%} of requests. Exploration gave only "
                f"{effective:.1f} ratings' worth of these ({LEAST_EFFECTIVE_N:.0f} are needed), and "
                f"{untried:.1%} of requests were hardly explored (at most {MOST_UNTRIED:.0%})",
                where=where,
                fix=_what_would_do(logged, mass, rated),
            )


def _expected_effective_n(weights: Weights, side: Floats, rated: int) -> float:
    """Ratings at equal weights, by Kish, that the propensities promise for what a side does."""
    reached = float((side - weights.beyond).sum()) / len(side)
    second = float(weights.squared.sum()) / len(side)
    return rated * reached**2 / second if second > 0 else 0.0


def _what_would_do(logged: LoggedTraffic, mass: float, rated: int) -> str:
    """Say which share of exploring, drawn evenly among those allowed, would give twice the least."""
    share = 2 * LEAST_EFFECTIVE_N * float(logged.allowed.sum(axis=1).mean()) / (rated * mass)
    if share > 1:
        return f"some {math.ceil(share * rated):,} ratings of explored requests would be needed"
    share = max(share, 0.01)
    explored = 1 - float(logged.propensity.max(axis=1).mean())
    even = ", at a higher --explore-temperature" if explored > share / 2 else ""
    return f"about {share:.0%} of requests would have to explore evenly (`--explore-share {share:.2f}`{even})"
