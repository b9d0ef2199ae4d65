"""What rounds cost and what they bought."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from orchestrator.evaluation.improvement import Estimate, Improvement


@dataclass(frozen=True)
class RoundResult:
    """What a round cost and what it bought."""

    round: str
    run_id: str
    questions: int
    answers: int  # asked now or before, in this round
    cost_usd: float  # of the round's answers and of making its questions
    version: str
    promoted: bool
    verdict: str
    purchase: Improvement | None  # None where the frozen set is too small to tell

    @property
    def points_per_usd(self) -> float:
        """Points of accuracy at fixed cost for a dollar; NaN where it cannot be told."""
        if self.purchase is None or self.cost_usd <= 0:
            return math.nan
        return 100 * self.purchase.difference.value / self.cost_usd

    @classmethod
    def of(cls, found: dict[str, Any]) -> RoundResult:
        """From the form in which it is recorded."""
        purchase = found["purchase"]
        if purchase is not None:
            estimates = {name: Estimate(**purchase[name]) for name in ("before", "after", "difference")}
            purchase = Improvement(**purchase | estimates)
        return cls(**found | {"purchase": purchase})


@dataclass(frozen=True)
class SelfplayResult:
    """What a run of rounds bought, and why it ended."""

    run_id: str
    rounds: tuple[RoundResult, ...]
    frozen_cost_usd: float
    stopped: str  # why no further round was run

    @property
    def cost_usd(self) -> float:
        """Money spent in all, earlier attempts included."""
        return self.frozen_cost_usd + sum(result.cost_usd for result in self.rounds)
