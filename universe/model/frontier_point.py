"""A point of the frontier, as it is kept and drawn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrontierPoint:
    """The best set within a budget for a query."""

    budget_usd: float
    experts: tuple[str, ...]
    expected_score: float
    expected_cost_usd: float
    bound: float  # no set within the budget scores more
