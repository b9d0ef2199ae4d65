"""The measures of a routing policy, each a pure function of arrays.

A *curve* is a set of points (mean cost, mean quality), one per setting of a policy. Sources: AIQ and the
zero-router, RouterBench (Hu et al. 2024); PGR, APGR, CPT, RouteLLM (Ong et al. 2024); arena-style score and
optimality, RouterArena (Lu et al. 2025); PerfGain and CostSave, LLMRouterBench; QNC and nAUC, UniRoute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.selection.hull import convex_hull

Floats = NDArray[np.float64]


def aiq(
    cost: ArrayLike,
    quality: ArrayLike,
    single_cost: ArrayLike,
    single_quality: ArrayLike,
    *,
    log_cost: bool = False,
    high_usd: float | None = None,
) -> float:
    """Average improvement in quality (RouterBench): the mean height of a policy's hull over the pool's costs.

    The integral runs from the mean cost of the cheapest to that of the dearest single expert, so that it
    depends on the pool alone; below the policy's own cheapest point the zero-router is used. With
    ``log_cost`` the integral is over the logarithm of cost (each decade of price counts the same); it starts
    at the cheapest expert whose cost is not 0. ``high_usd`` sets another upper
    end; beyond its dearest point a hull is flat.
    """
    single_cost = np.asarray(single_cost, float)
    low = float(single_cost.min())
    high = float(single_cost.max()) if high_usd is None else high_usd
    if log_cost and low <= 0 < high:
        low = float(single_cost[single_cost > 0].min())
    zero_cost, zero_quality = convex_hull(single_cost, single_quality)
    if high <= low * (1 + 1e-12):
        return float(np.max(np.asarray(quality, float)))
    hull_cost, hull_quality = convex_hull(cost, quality)
    first = min(max(hull_cost[0], low), high)
    below = _area(zero_cost, zero_quality, low, first, log_cost)
    above = _area(hull_cost, hull_quality, first, high, log_cost)
    return (below + above) / (np.log(high / low) if log_cost else high - low)


def _area(corner_cost: Floats, corner_quality: Floats, low: float, high: float, log_cost: bool) -> float:
    """Exact integral of the piecewise linear hull over cost, or over log cost, from ``low`` to ``high``."""
    if high <= low:
        return 0.0
    inner = corner_cost[(corner_cost > low) & (corner_cost < high)]
    x = np.concatenate([[low], inner, [high]])
    y = np.interp(x, corner_cost, corner_quality)
    if not log_cost:
        return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
    slope = np.diff(y) / np.diff(x)
    # integral of (y0 + slope (c - x0)) / c dc
    return float(np.sum((y[:-1] - slope * x[:-1]) * np.log(x[1:] / x[:-1]) + np.diff(y)))


@dataclass(frozen=True)
class GapRecovered:
    """How a two-expert router closes the gap between the weak and the strong expert (RouteLLM)."""

    apgr: float
    cpt: dict[int, float]  # percent of the gap -> least share of queries sent to the strong expert


def gap_recovered(share_strong: ArrayLike, quality: ArrayLike, weak: float, strong: float) -> GapRecovered:
    """APGR and CPT(20, 50, 80) from a router's (share sent to the strong expert, quality) points.

    Raises:
        ValueError: the strong expert is not better than the weak one: the gap does not exist.
    """
    if strong <= weak:
        raise ValueError("the strong expert must be better than the weak one")
    order = np.argsort(np.asarray(share_strong, float), kind="stable")
    share = np.concatenate([[0.0], np.asarray(share_strong, float)[order], [1.0]])
    recovered = np.concatenate([[0.0], (np.asarray(quality, float)[order] - weak) / (strong - weak), [1.0]])
    best = np.maximum.accumulate(recovered)
    apgr = float(np.sum(np.diff(share) * (best[1:] + best[:-1]) / 2))
    cpt = {}
    for percent in (20, 50, 80):
        target = percent / 100
        i = int(np.argmax(best >= target))
        rise = best[i] - best[i - 1]
        cpt[percent] = float(share[i - 1] + (share[i] - share[i - 1]) * (target - best[i - 1]) / rise)
    return GapRecovered(apgr, cpt)


def cost_to_match(cost: ArrayLike, quality: ArrayLike, target: float) -> float:
    """The smallest cost at which the points of a policy reach ``target`` quality; infinity if none does."""
    cost, quality = np.asarray(cost, float), np.asarray(quality, float)
    reached = quality >= target - 1e-12
    return float(cost[reached].min()) if reached.any() else float("inf")


def qnc(cost: ArrayLike, quality: ArrayLike, best_quality: float, best_cost: float) -> float | None:
    """Query-normalised cost: cost to match the best single expert over that expert's cost; None if never, or
    if that expert is free.
    """
    matched = cost_to_match(cost, quality, best_quality)
    return matched / best_cost if np.isfinite(matched) and best_cost > 0 else None


def perf_gain(quality: ArrayLike, best_quality: float) -> float:
    """Best quality on the curve over the best single expert's, minus 1."""
    return float(np.max(np.asarray(quality, float)) / max(best_quality, 1e-300) - 1)


def nauc(cost: ArrayLike, quality: ArrayLike, max_cost: float) -> float:
    """Area under the Pareto front over cost / ``max_cost``: a staircase, 0 before its first point."""
    order = np.lexsort((-np.asarray(quality, float), np.asarray(cost, float)))
    x = np.clip(np.asarray(cost, float)[order] / max_cost, 0, 1)
    front = np.maximum.accumulate(np.asarray(quality, float)[order])
    return float(np.sum(front * np.diff(np.append(x, 1.0))))


def arena_style_score(accuracy: float, usd_per_1k_queries: float) -> float:
    """RouterArena's formula on our own data, in [0, 100]; do not report it as an Arena score."""
    dearest, cheapest = np.log2(200), np.log2(0.0044)
    cheapness = np.clip((dearest - np.log2(max(usd_per_1k_queries, 1e-9))) / (dearest - cheapest), 0, 1)
    denominator = 0.1 * accuracy + cheapness
    return float(100 * 1.1 * accuracy * cheapness / denominator) if denominator > 0 else 0.0


@dataclass(frozen=True)
class Optimality:
    """RouterArena's three shares, each in [0, 1], for each weighting [replicates] of the questions."""

    selection: Floats  # of the correctly answered queries, those that went to the cheapest correct expert
    cost: Floats  # cheapest correct cost over actual cost, mean over those queries
    accuracy: Floats  # accuracy over the oracle's


def optimality(
    choice: NDArray[np.integer],
    score: NDArray[Any],
    cost_usd: NDArray[Any],
    *,
    weight: Floats,
    paid_usd: Floats | None = None,
) -> Optimality:
    """Compare the experts that answered with the cheapest correct ones; an answer counts as correct from 0.5.

    Args:
        choice: [n] columns of the experts that answered.
        score: [n, m] of all experts.
        cost_usd: [n, m] of all experts.
        weight: [replicates, n] of the questions.
        paid_usd: [n] what was paid in all, the decision included; by default the expert's cost.
    """
    rows = np.arange(len(choice))
    correct = score >= 0.5
    right = correct[rows, choice]
    cheapest = np.where(correct, cost_usd, np.inf).min(axis=1)
    own = cost_usd[rows, choice]
    paid = own if paid_usd is None else paid_usd
    ratio = np.ones(len(choice))  # what was free, nothing is cheaper than
    np.divide(cheapest, paid, out=ratio, where=right & (paid > 0))
    ratio = np.where(right, np.minimum(ratio, 1.0), 0.0)
    answered = np.maximum(weight @ right, 1e-300)
    return Optimality(
        selection=weight @ (right & (own <= cheapest * (1 + 1e-9))) / answered,
        cost=weight @ ratio / answered,
        accuracy=weight @ score[rows, choice] / np.maximum(weight @ score.max(axis=1), 1e-300),
    )


def expected_calibration_error(predicted: ArrayLike, outcome: ArrayLike, *, bins: int = 15) -> float:
    """Mean gap between predicted and observed success over bins of equal mass; NaN cells are left out."""
    gaps = calibration_bins(predicted, outcome, bins=bins)
    return float(np.sum(gaps[:, 2] * np.abs(gaps[:, 0] - gaps[:, 1])) / max(gaps[:, 2].sum(), 1))


def calibration_bins(predicted: ArrayLike, outcome: ArrayLike, *, bins: int = 15) -> Floats:
    """Return [bins, 3]: mean predicted, mean observed and count of equal-mass bins, from low to high."""
    p, y = _observed(predicted, outcome)
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, max(len(p), 1)))
    return np.array([[p[i].mean(), y[i].mean(), len(i)] if len(i) else [0.0, 0.0, 0] for i in parts])


def brier_score(predicted: ArrayLike, outcome: ArrayLike) -> float:
    """Mean squared difference between predicted success and outcome; cells with NaN are left out.

    Scores may lie between 0 and 1, which scikit-learn's function of that name refuses.
    """
    p, y = _observed(predicted, outcome)
    return float(np.mean((p - y) ** 2))


def auroc(predicted: ArrayLike, outcome: ArrayLike) -> float:
    """Chance that a right answer was given a higher prediction than a wrong one (ties count half).

    NaN where all answers were right, or all wrong; cells with NaN are left out.
    """
    from sklearn.metrics import roc_auc_score

    p, y = _observed(predicted, outcome)
    right = y >= 0.5
    return float(roc_auc_score(right, p)) if 0 < right.sum() < len(right) else float("nan")


def _observed(predicted: ArrayLike, outcome: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(predicted, float).ravel(), np.asarray(outcome, float).ravel()
    seen = np.isfinite(y)
    return p[seen], y[seen]


def question_weights(n: int, replicates: int, seed: int) -> Floats:
    """Bootstrap weights [replicates, n] over questions: how often each question is drawn.

    One matrix for all policies and splits makes every difference between them paired.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=replicates).astype(float)


def interval(replicates: ArrayLike) -> tuple[float, float]:
    """The central 95% of bootstrap replicates."""
    values = np.asarray(replicates, float)
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
