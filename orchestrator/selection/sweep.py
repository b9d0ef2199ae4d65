"""The results of a policy on recorded outcomes, at each of its settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyPoints:
    """The results of one policy on one seed's questions, at each of its settings."""

    score: NDArray[np.float32]  # [settings, n]
    cost_usd: NDArray[np.float64]  # [settings, n]
    choice: NDArray[np.int16]  # [settings, n]


def points_of(choice: NDArray[np.integer], score: NDArray[np.float32], cost_usd: Floats) -> PolicyPoints:
    """The scores and costs of the choices [settings, n]."""
    rows = np.arange(choice.shape[1])
    return PolicyPoints(score[rows, choice], cost_usd[rows, choice], choice.astype(np.int16))
