"""The gate for corrections learned from traffic: they apply once they have predicted later labels better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISTAKEN = 0.05  # chance that the gate ever opens although the frozen router's forecasts hold

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Foretold:
    """Labels with the forecasts that were made before them, in order of time."""

    success: Floats  # [c] unbiased
    variance: Floats  # [c] of its noise
    frozen: Floats  # [c] forecast by the router that has not learned from traffic
    learned: Floats  # [c] by the one that has, up to then


def may_take_over(history: Sequence[Foretold], *, mistaken: float = MISTAKEN) -> bool:
    """Test sequentially whether the labels are more likely under the corrected forecasts.

    Both routers forecast each label before either learns from it (progressive validation). If the frozen
    router's forecasts hold, the likelihood ratio of all labels so far is a martingale of mean 1 (with
    normal noise of these variances), and the probability that it ever exceeds 1 / ``mistaken`` is at most
    ``mistaken`` (Ville's inequality; Robbins 1970). So the test may be repeated after every lesson. Without
    labels, or while noise hides the difference, the frozen router stays.
    """
    gain = sum(
        float(
            (((part.success - part.frozen) ** 2 - (part.success - part.learned) ** 2) / part.variance).sum()
        )
        for part in history
    )
    return bool(gain / 2 > -np.log(mistaken))
