"""Plans: the experts that may be asked for each query, those asked so far, their answers and costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.beliefs import Beliefs
from orchestrator.asking.readings import NOT_ASKED

Floats = NDArray[np.float64]

MAX_ASKS = 5


@dataclass(frozen=True)
class Limits:
    """The limits of a plan."""

    max_asks: int = MAX_ASKS
    ceiling_usd: float = float("inf")  # all answers of a plan together never cost more
    worst_usd: Floats | None = None  # [m] the most that an answer of each expert may cost; else its forecast


@dataclass(frozen=True)
class Plans:
    """Plans of ``n`` queries over ``m`` experts. Nothing in it is changed: each step makes new ones."""

    success: Floats  # [n, m] forecast that an answer is right, readable or not
    cost_usd: Floats  # [n, m] forecast
    multiplier: float
    allowed: NDArray[np.bool_]  # [n, m]
    max_asks: int
    ceiling_usd: float
    worst_usd: Floats  # [n, m]
    beliefs: Beliefs
    given: NDArray[np.int16]  # [n, m] class of each answer, or a code of `readings`
    paid_usd: Floats  # [n]
    told: Floats  # [n, m] by how much an incomparable answer's length multiplies the odds that it is right

    def __len__(self) -> int:
        return len(self.paid_usd)

    @property
    def asks(self) -> NDArray[np.intp]:
        """The number of experts asked [n]."""
        counted: NDArray[np.intp] = (self.given != NOT_ASKED).sum(axis=1)
        return counted

    @property
    def open(self) -> NDArray[np.bool_]:
        """Whether each expert may be asked [n, m]: allowed, not asked yet, within the limits."""
        affordable = self.paid_usd[:, None] + self.worst_usd <= self.ceiling_usd
        left = (self.asks < self.max_asks)[:, None]
        open_: NDArray[np.bool_] = self.allowed & (self.given == NOT_ASKED) & affordable & left
        return open_

    def take(self, rows: NDArray[np.integer]) -> Plans:
        """Return those of some queries."""
        return replace(
            self,
            beliefs=self.beliefs.take(rows),
            **{
                name: getattr(self, name)[rows]
                for name in ("success", "cost_usd", "allowed", "worst_usd", "given", "paid_usd", "told")
            },
        )

    def observe(
        self, experts: NDArray[np.integer], classes: NDArray[np.integer], paid_usd: Floats, told: Floats
    ) -> Plans:
        """Note what an expert of each query [n] answered, what it cost and what its length told."""
        given, odds, rows = self.given.copy(), self.told.copy(), np.arange(len(self))
        given[rows, experts], odds[rows, experts] = classes, told
        return self.updated(given, self.paid_usd + paid_usd, odds)

    def at(self, multiplier: float) -> Plans:
        """Return the plans at another multiplier."""
        return replace(self, multiplier=multiplier)

    def updated(self, given: NDArray[np.int16], paid_usd: Floats, told: Floats) -> Plans:
        """Return the plans with other answers, payments and lengths."""
        return replace(self, given=given, paid_usd=paid_usd, told=told)

    def worst_case_usd(self) -> Floats:
        """Return the highest total cost of each plan [n]: the amount paid, and the dearest remaining asks."""
        dearest = -np.sort(-np.where(self.open, self.worst_usd, 0.0), axis=1)
        left = np.arange(dearest.shape[1]) < (self.max_asks - self.asks)[:, None]
        most = self.paid_usd + np.where(left, dearest, 0.0).sum(axis=1)
        worst: Floats = np.maximum(np.minimum(most, self.ceiling_usd), self.paid_usd)
        return worst
