"""A 95% interval of a mean of skewed rows that are correlated within units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An interval from ``low`` to ``high``."""

    low: float
    high: float

    def widened(self, below: float, above: float) -> Interval:
        """Return the interval extended by the bounds of what the data cannot tell."""
        return Interval(self.low - below, self.high + above)


def sum_by_unit(values: Floats, unit: NDArray[np.intp]) -> Floats:
    """Sum rows [n] by unit: [units], ordered by the number of the unit, without units that have no rows."""
    _, place = np.unique(unit, return_inverse=True)
    return np.bincount(place, weights=values).astype(float)


def interval_of_mean(
    contribution: Floats,
    unit: NDArray[np.intp],
    *,
    least_variance: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return an interval of the mean of ``contribution`` [n].

    A Student interval over sums by unit (cluster-robust). Its degrees of freedom follow from the kurtosis
    of the sums (Satterthwaite's equation with the exact variance of a sample variance, ``2 n / (kurtosis -
    1)``), so that a few rows of large weight count as few. Hall's cubic transform corrects for skewness
    (Hall 1992, *On the removal of skewness by transformation*, eq. 2.1), which is monotone and needs no
    bootstrap.

    Args:
        contribution: [n] rows, whose mean is the estimate.
        unit: [n] number of each row's unit.
        least_variance: lower bound on the variance of the mean, from other knowledge than the rows.
        confidence: nominal coverage.
    """
    from scipy.special import stdtrit

    n = len(contribution)
    mean = float(contribution.mean()) if n else math.nan
    sums = sum_by_unit(contribution - mean, unit)
    units = len(sums)
    if units < 2:
        return Interval(-math.inf, math.inf)
    square = float(np.mean(sums**2))
    seen = square * units / (units - 1) * units / n**2  # of the mean
    variance = max(seen, least_variance)
    if variance <= 0:
        return Interval(mean, mean)
    if square > 0:
        scaled = sums / np.abs(sums).max()  # so that no power of a small number is lost
        kurtosis = float(np.mean(scaled**4) / np.mean(scaled**2) ** 2)
        skewness = float(np.mean(scaled**3) / np.mean(scaled**2) ** 1.5)
    else:
        kurtosis, skewness = 3.0, 0.0
    freedom = float(np.clip(2 * units / max(kurtosis - 1, 1e-9), 1.0, units - 1))
    tail = float(stdtrit(freedom, (1 + confidence) / 2))
    root, error = math.sqrt(units), math.sqrt(variance)
    lean = skewness / root
    upper, lower = (_undo_skewness(end, lean) for end in (tail, -tail))
    return Interval(mean - upper * error, mean - lower * error)


def _undo_skewness(t: float, lean: float) -> float:
    """The Studentised mean whose transform by Hall is ``t``; ``lean`` is skewness over the root of n.

    With a = lean / 3 the transform is T + a T^2 + a^2 T^3 / 3 + lean / 6, whose inverse is exact.
    """
    if abs(lean) < 1e-9:
        return t
    a = lean / 3
    return (float(np.cbrt(1 + 3 * a * (t - lean / 6))) - 1) / a
