"""Drift of traffic: novel queries, forecasts that no longer hold, and experts that changed.

Nothing here reads a table. Rows are in the order of time; NaN is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Questions of the training set, and requests, that are looked at at most.
MOST_LOOKED_AT = 2_000
NEIGHBOURS = 5
#: A request is novel if it lies farther from the training set than this share of its own questions.
NOVELTY_QUANTILE = 0.95
#: Longer series are averaged down to so many bins before a shift is looked for.
_MOST_BINS = 1_000
_Z = 1.96


@dataclass(frozen=True)
class Novelty:
    """The share of requests that are unlike anything in the training set.

    Attributes:
        share: share of the requests that are novel.
        low, high: 95% interval of the share.
        expected: the share without drift.
        separation: probability that a request lies farther from the training set than one of its own
            questions does from the others; 0.5 without drift.
        requests, trained: numbers of requests and of training questions.
    """

    share: float
    low: float
    high: float
    expected: float
    separation: float
    requests: int
    trained: int


@dataclass(frozen=True)
class Difference:
    """A mean difference, observed minus forecast, with its 95% interval."""

    forecast: float
    found: float
    difference: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Ratio:
    """The ratio of bills to forecasts, with its 95% interval."""

    ratio: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Shift:
    """The most likely change point of a series.

    Attributes:
        at: first position after the change.
        before, after: mean before and after the change.
        p_value: probability of a change at least as clear somewhere in a series without change.
        n: number of values in the series.
    """

    at: int
    before: float
    after: float
    p_value: float
    n: int


def measure_novelty(
    requests: NDArray[np.floating], trained: NDArray[np.floating], *, seed: int = 0
) -> Novelty | None:
    """Compare distances to the training set: of requests, and of its own questions (each left out in turn).

    The distance is 1 less the mean cosine to the nearest questions. None with fewer than 20 of either.

    Args:
        requests: [n, d] embeddings.
        trained: [t, d] embeddings by the same embedder.
        seed: of the sample that is drawn from more than ``MOST_LOOKED_AT`` rows.
    """
    n, t = len(requests), len(trained)
    if min(n, t) < 20:
        return None
    rng = np.random.default_rng(seed)
    known = _unit(trained[_draw(t, rng)])
    own = _distances(known, known, leave_out=True)
    found = _distances(_unit(requests[_draw(n, rng)]), known, leave_out=False)
    is_novel = found > np.quantile(own, NOVELTY_QUANTILE)
    low, high = share_interval(float(is_novel.mean()), len(is_novel))
    return Novelty(
        float(is_novel.mean()), low, high, 1 - NOVELTY_QUANTILE, separation(found, own), n, t
    )  # fmt: skip


def separation(found: NDArray[np.floating], own: NDArray[np.floating]) -> float:
    """Probability that a value of the first sample is above one of the second; ties count half (AUC)."""
    order = np.sort(own)
    below = np.searchsorted(order, found, side="left") + np.searchsorted(order, found, side="right")
    return float(below.mean() / (2 * len(own)))


def share_interval(share: float, n: int) -> tuple[float, float]:
    """95% interval of a share of n (Agresti and Coull, 1998)."""
    centre = (share * n + _Z**2 / 2) / (n + _Z**2)
    margin = _Z * math.sqrt(centre * (1 - centre) / (n + _Z**2))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def compare_means(forecast: NDArray[np.floating], found: NDArray[np.floating]) -> Difference | None:
    """Return mean observed success minus its forecast; None with fewer than 2 pairs.

    The interval is Agresti and Coull's for pairs: two successes and two failures are added at the mean
    forecast, so that it is valid for small samples and for outcomes that are all equal.

    Args:
        forecast: [n] probabilities.
        found: [n] observed scores in [0, 1].
    """
    known = np.isfinite(forecast) & np.isfinite(found)
    n = int(known.sum())
    if n < 2:
        return None
    gaps, told = (found - forecast)[known].astype(np.float64), float(forecast[known].mean())
    wider = np.concatenate([gaps, [-told, -told, 1 - told, 1 - told]])
    margin, centre = _Z * float(wider.std()) / math.sqrt(n + 4), float(wider.mean())
    mean = float(gaps.mean())
    return Difference(told, float(found[known].mean()), mean, centre - margin, centre + margin, n)


def compare_costs(
    forecast_usd: NDArray[np.floating],
    billed_usd: NDArray[np.floating],
    *,
    resamples: int = 500,
    seed: int = 0,
) -> Ratio | None:
    """Return the ratio of total bills to total forecasts, with a bootstrap interval over requests.

    None with fewer than 5 pairs, or if all forecasts are 0.
    """
    known = np.isfinite(forecast_usd) & np.isfinite(billed_usd)
    told, billed = forecast_usd[known], billed_usd[known]
    n = len(told)
    if n < 5 or told.sum() <= 0:
        return None
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    ratios = (counts @ billed) / np.maximum(counts @ told, 1e-300)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Ratio(float(billed.sum() / told.sum()), float(low), float(high), n)


def find_shift(
    values: NDArray[np.floating], *, fewest: int = 15, permutations: int = 1_999, seed: int = 0
) -> Shift | None:
    """Find the most likely change point of a series, with a p-value.

    The statistic is the largest standardised difference of means over all positions that leave ``fewest``
    values on both sides. Its null distribution comes from permutations of the series, so that the error
    rate is exact for any distribution of the values. None if the series is too short, or constant.

    Source: Csörgő and Horváth, "Limit Theorems in Change-Point Analysis" (1997), with permutations.

    Args:
        values: [n] in the order of time; NaN are left out.
        fewest: minimum number of values on each side of the change.
        permutations: number of permutations; the smallest p-value is 1 / (permutations + 1).
        seed: of the permutations.
    """
    kept = np.flatnonzero(np.isfinite(values))
    n = len(kept)
    if n < 2 * fewest or np.ptp(values[kept]) == 0:
        return None
    size = -(-n // _MOST_BINS)
    edges = np.arange(0, n, size)
    counts = np.diff(np.append(edges, n)).astype(np.float64)
    series = np.add.reduceat(values[kept].astype(np.float64), edges) / counts
    edge = max(1, -(-fewest // size))
    place, observed = _largest_change(series[None, :], edge)
    rng = np.random.default_rng(seed)
    exceeding = 0
    for _ in range(0, permutations, 500):
        batch = rng.permuted(np.tile(series, (min(500, permutations), 1)), axis=1)
        exceeding += int((_largest_change(batch, edge)[1] >= observed[0] - 1e-12).sum())
    drawn = -(-permutations // 500) * min(500, permutations)
    at = int(place[0]) * size
    own = values[kept]
    return Shift(
        int(kept[at]), float(own[:at].mean()), float(own[at:].mean()), (1 + exceeding) / (1 + drawn), n
    )  # fmt: skip


def reject_by_holm(p_values: Sequence[float], alpha: float) -> NDArray[np.bool_]:
    """Tell which of several tests are significant, with a family-wise error rate of at most alpha.

    Source: Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    found = np.asarray(p_values, np.float64)
    order = np.argsort(found)
    passes = found[order] <= alpha / np.arange(len(found), 0, -1)
    rejected = np.zeros(len(found), bool)
    rejected[order] = np.logical_and.accumulate(passes) if len(found) else passes
    return rejected


def _largest_change(series: NDArray[np.float64], edge: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Moment and size of each row's largest standardised change of mean: [r], [r] of series [r, n]."""
    n = series.shape[1]
    sums = np.cumsum(series, axis=1)
    k = np.arange(edge, n - edge + 1)
    k = k[(k > 0) & (k < n)]
    first, total = sums[:, k - 1], sums[:, -1:]
    gap = first / k - (total - first) / (n - k)
    size = np.abs(gap) * np.sqrt(k * (n - k) / n)
    best = size.argmax(axis=1)
    return k[best], size[np.arange(len(size)), best]


def _distances(
    points: NDArray[np.float32], known: NDArray[np.float32], *, leave_out: bool
) -> NDArray[np.float32]:
    near = min(NEIGHBOURS, len(known) - 1)
    found = np.empty(len(points), np.float32)
    for start in range(0, len(points), 500):
        alike = points[start : start + 500] @ known.T
        if leave_out:
            rows = np.arange(len(alike))
            alike[rows, start + rows] = -np.inf
        found[start : start + 500] = 1 - np.partition(alike, -near, axis=1)[:, -near:].mean(axis=1)
    return found


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    vectors = np.asarray(vectors, np.float32)
    unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def _draw(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if n <= MOST_LOOKED_AT:
        return np.arange(n)
    return np.sort(rng.choice(n, MOST_LOOKED_AT, replace=False))
