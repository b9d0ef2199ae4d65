"""What a policy did on recorded outcomes, at each of its settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MULTIPLIERS = 72

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyPoints:
    """What one policy did on one seed's questions, at each of its settings."""

    score: NDArray[np.float32]  # [settings, n]
    cost_usd: NDArray[np.float64]  # [settings, n]
    choice: NDArray[np.int16]  # [settings, n]


def multiplier_grid(success: NDArray[np.floating], cost_usd: Floats, count: int = MULTIPLIERS) -> Floats:
    """Multipliers [count] from 0 to infinity that sweep a policy from dearest to cheapest: quantiles of the
    rates at which dearer experts buy success on these queries.
    """
    sample = np.linspace(0, len(success) - 1, min(len(success), 2000)).astype(int)
    s, c = np.asarray(success, float)[sample], cost_usd[sample]
    gain, extra = s[:, :, None] - s[:, None, :], c[:, :, None] - c[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = (gain / extra)[(gain > 1e-9) & (extra > 1e-15)]
    if not len(rates):
        return np.array([0.0, np.inf])
    inner = np.unique(np.quantile(rates, np.linspace(0, 1, count - 2)))
    return np.concatenate([[0.0], inner * (1 + 1e-9), [np.inf]])


def points_of(choice: NDArray[np.integer], score: NDArray[np.float32], cost_usd: Floats) -> PolicyPoints:
    """What the choices [settings, n] score and cost."""
    rows = np.arange(choice.shape[1])
    return PolicyPoints(score[rows, choice], cost_usd[rows, choice], choice.astype(np.int16))
