"""Accuracy at a fixed cost: what a routing policy reaches when it spends a given amount per query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def accuracy_at_cost(
    score: NDArray[np.floating], cost_usd: Floats, at_cost_usd: float, weights: Floats | None = None
) -> Floats:
    """Mean score at a mean cost per query, between the two settings of a policy whose costs enclose it.

    Settings are mixed by cost alone: no setting is preferred because it scored well on these questions, which
    would flatter a policy with many settings. Below the cheapest setting the cheapest counts, above the
    dearest the dearest.

    Args:
        score: [settings, n], settings by rising price on cost.
        cost_usd: [settings, n].
        at_cost_usd: mean cost per query.
        weights: [r, n] of the questions, for bootstrap replicates; by default all alike.

    Returns:
        Accuracy [r] (one value without weights).
    """
    n = score.shape[1]
    weights = np.full((1, n), 1 / n) if weights is None else weights / weights.sum(axis=1, keepdims=True)
    quality = (weights @ score.T)[:, ::-1]  # by rising cost
    cost = np.maximum.accumulate((weights @ cost_usd.T)[:, ::-1], axis=1)
    return np.array([np.interp(at_cost_usd, c, q) for c, q in zip(cost, quality, strict=True)])
