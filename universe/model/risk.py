"""How the values of several states of the world make one number to maximise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse import InputError


@dataclass(frozen=True)
class Risk:
    """(1 - weight) * mean over scenarios + weight * mean of the worst ``tail`` share of them (CVaR).

    weight 0 is the plain mean; weight 1 with tail 0 is the worst case. Rockafellar and Uryasev (2000),
    "Optimization of conditional value-at-risk".
    """

    weight: float = 0.0
    tail: float = 0.0

    def __post_init__(self) -> None:
        for name in ("weight", "tail"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"must be in [0, 1], not {getattr(self, name)}", where=f"risk, field {name}")

    def of(self, values: NDArray[np.float64]) -> float:
        """The risk-adjusted value of the scenarios' values [s]."""
        if self.weight == 0 or np.isinf(values).any():
            return float(values.mean())
        count = max(1.0, self.tail * len(values))
        ordered = np.sort(values)
        taken = np.clip(count - np.arange(len(values)), 0, 1)
        return float((1 - self.weight) * values.mean() + self.weight * (ordered @ taken) / count)

    def describe(self, scenarios: int) -> str:
        """Where the value is counted, in words."""
        worst = max(1.0, self.tail * scenarios)
        tail = "the worst" if worst == 1 else f"the worst {worst:.3g}"
        if self.weight == 1:
            return f"in {tail} of {scenarios} scenarios"
        return f"in {1 - self.weight:.0%} mean and {self.weight:.0%} {tail} of {scenarios} scenarios"
