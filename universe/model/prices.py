"""The shadow prices by which a universe routes: its limits on cost, domains and load, per question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prices:
    """A question goes to the expert of highest ``score * domain - usd * cost_usd - load``."""

    usd: float = 0.0  # score per USD: the shadow price of the query budget plus the price weight
    domain: Mapping[str, float] = field(default_factory=dict)  # worth of score where there is a floor; else 1
    load: Mapping[str, float] = field(default_factory=dict)  # score that a busy expert must add; else 0

    def choose(
        self,
        experts: Sequence[str],
        domains: NDArray[np.str_],
        score: NDArray[np.floating],
        cost_usd: NDArray[np.floating],
    ) -> NDArray[np.intp]:
        """Column [n] of the expert that each question goes to.

        Args:
            experts: [k] names of the columns.
            domains: [n] of the questions.
            score: [n, k] expected.
            cost_usd: [n, k] expected.
        """
        worth = np.array([self.domain.get(str(name), 1.0) for name in domains])
        load = np.array([self.load.get(name, 0.0) for name in experts])
        chosen: NDArray[np.intp] = (worth[:, None] * score - self.usd * cost_usd - load).argmax(axis=1)
        return chosen
