"""Costs beyond forecasts: a ratio that corrects forecasts, and an upper bound on the cost of an answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNLEARNED_OVERRUN = 4.0  # actual over forecast cost that is reckoned with where nothing is known
RATIO_MEMORY = 8.0  # answers' worth of trust in the forecast before actual costs outweigh it

Floats = NDArray[np.float64]


def price_ratio(paid_usd: Floats, expected_usd: Floats, mean_cost_usd: Floats) -> Floats:
    """Return the ratio [m] of actual to forecast cost of each expert, shrunk to 1 while answers are few.

    Args:
        paid_usd: [m] for all answers so far.
        expected_usd: [m] forecast of the same answers.
        mean_cost_usd: [m] forecast of one answer; above 0.
    """
    trust = RATIO_MEMORY * mean_cost_usd
    ratio: Floats = (paid_usd + trust) / (expected_usd + trust)
    return ratio
