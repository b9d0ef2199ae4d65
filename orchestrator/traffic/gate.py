"""May what was learned from traffic decide? Only where it has foretold labels better that came afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISTAKEN = 0.05  # chance that the gate ever opens although the frozen router's forecasts hold

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Foretold:
    """Labels that came after the forecasts of them were made, in order of time."""

    success: Floats  # [c] unbiased
    variance: Floats  # [c] of its noise
    frozen: Floats  # [c] forecast by the router that has not learned from traffic
    learned: Floats  # [c] by the one that has, up to then


def may_take_over(history: Sequence[Foretold], *, mistaken: float = MISTAKEN) -> bool:
    """Sequential test by progressive validation: are the labels likelier under what was learned?

    Each label is forecast by both routers before either learns from it. Where the frozen one's forecasts
    hold, the likelihood ratio of all labels so far is a martingale of mean 1 (with normal noise of these
    variances), and exceeds 1 / ``mistaken`` at any time with at most that chance (Ville's inequality;
    Robbins 1970): one may look after every lesson. Without labels, or while their noise hides a difference,
    the frozen router stays.
    """
    gain = sum(
        float(
            (((part.success - part.frozen) ** 2 - (part.success - part.learned) ** 2) / part.variance).sum()
        )
        for part in history
    )
    return bool(gain / 2 > -np.log(mistaken))
