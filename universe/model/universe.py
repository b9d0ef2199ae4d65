"""The universe: the best set of experts for the money, and how sure we are that it is the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from universe.model.limits import Limits
from universe.model.prices import Prices


@dataclass(frozen=True)
class Universe:
    """The chosen experts, what routing over them is expected to reach, and the proof.

    ``objective`` is ``expected_score`` minus the priced cost; no universe within the limits exceeds
    ``bound``. ``cost_multiplier`` is the shadow price of the query budget: what one more USD per query
    would add to the objective.
    """

    experts: tuple[str, ...]
    status: str  # optimal | time limit | interrupted | stalled (by rounding) | sampled
    objective: float
    bound: float
    wall_s: float
    expected_score: float
    expected_cost_usd: float  # mean per query
    usd_per_hour: float
    share: Mapping[str, float]  # of the traffic, by expert
    replicas: Mapping[str, int]
    prices: Prices  # at which its questions are routed
    left_out: tuple[str, ...]
    dominated: Mapping[str, str]  # expert -> the one that makes it needless
    questions: int
    limits: Limits
    price_weight: float

    @property
    def cost_multiplier(self) -> float:
        """The shadow price of the query budget, in score per USD; 0 where there is none."""
        return self.prices.usd - self.price_weight

    @property
    def gap(self) -> float:
        """Proven gap, in score: no universe is better by more than this."""
        return max(0.0, self.bound - self.objective)
