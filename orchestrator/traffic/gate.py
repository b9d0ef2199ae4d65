"""May what was learned from traffic decide? Only where it has foretold labels better that came afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEEDED = 1.0  # standard errors by which the challenger's forecasts must have been better
RECENT = 600  # labels looked back on

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Foretold:
    """Labels that came after the forecasts of them were made, in order of time."""

    success: Floats  # [c] unbiased
    variance: Floats  # [c] of its noise
    frozen: Floats  # [c] forecast by the router that has not learned from traffic
    learned: Floats  # [c] by the one that has, up to then


def may_take_over(history: Sequence[Foretold], *, needed: float = NEEDED, recent: int = RECENT) -> bool:
    """Progressive validation (Blum, Kalai and Langford 1999): compare squared errors on the last labels.

    Each label is forecast by both routers before either learns from it, so that nothing flatters the one
    that learns. Without labels, or while their noise hides a difference, the frozen router stays.
    """
    if not history:
        return False
    success, variance, frozen, learned = (
        np.concatenate([getattr(part, name) for part in history])[-recent:]
        for name in ("success", "variance", "frozen", "learned")
    )
    if len(success) < 2:
        return False
    gain = ((success - frozen) ** 2 - (success - learned) ** 2) / variance
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5
    return bool(gain.mean() > needed * error)
