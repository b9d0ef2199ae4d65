"""The net value of an answer at a price on cost. The formula is defined here alone."""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

COST_ALONE = 1e12  # success per USD: beyond it no difference in success outweighs one in cost


@overload
def net_value(success: float, cost_usd: float, multiplier: float) -> float: ...


@overload
def net_value(
    success: NDArray[Any], cost_usd: NDArray[Any], multiplier: float | NDArray[np.float64]
) -> NDArray[np.float64]: ...


def net_value(success: Any, cost_usd: Any, multiplier: Any) -> Any:
    """Return success - multiplier * cost, of numbers or arrays.

    Args:
        success: expected score in [0, 1].
        cost_usd: expected cost of an answer.
        multiplier: success that a dollar has to buy, or as many as there are rows: [n, 1]. Infinity: cost
            alone counts, and success where costs are equal.
    """
    if isinstance(multiplier, np.ndarray):
        return success - np.where(np.isfinite(multiplier), multiplier, COST_ALONE) * cost_usd
    price = multiplier if math.isfinite(multiplier) else COST_ALONE
    return success - price * cost_usd
