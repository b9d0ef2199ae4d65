"""The prior for an expert without answers: the mean score of experts of its price."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 4  # experts through which a line says something


@dataclass(frozen=True)
class MeanPrior:
    """A normal prior on an expert's mean score."""

    mean: float
    variance: float

    def update(self, mean: float, variance: float) -> float:
        """Return the posterior mean, given an observed mean and its variance."""
        precision, trust = 1 / max(self.variance, 1e-9), 1 / max(variance, 1e-9)
        return (self.mean * precision + mean * trust) / (precision + trust)


def prior_of_price(
    mean_score: NDArray[np.floating], mean_cost_usd: NDArray[np.floating], cost_usd: float
) -> MeanPrior | None:
    """Regress the scores of known experts [m] on the logarithm of their costs [m]; predict at ``cost_usd``.

    The variance is that of a new observation: the scatter around the line plus the uncertainty of the line.
    None if fewer than four experts have a price, or if all prices are equal.
    """
    priced = np.isfinite(mean_cost_usd) & (mean_cost_usd > 0) & np.isfinite(mean_score)
    if priced.sum() < FEWEST or not cost_usd > 0:
        return None
    score, price = mean_score[priced].astype(float), np.log(mean_cost_usd[priced].astype(float))
    centre, spread = price.mean(), float(((price - price.mean()) ** 2).sum())
    if spread < 1e-9:
        return None
    slope = float(((price - centre) * score).sum()) / spread
    away = float(np.log(cost_usd)) - centre
    scatter = float(((score - score.mean() - slope * (price - centre)) ** 2).sum()) / (len(score) - 2)
    variance = scatter * (1 + 1 / len(score) + away**2 / spread)
    return MeanPrior(float(score.mean()) + slope * away, variance)
