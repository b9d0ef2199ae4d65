"""What every policy did on one split, and the policies that learn nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.sweep import PolicyPoints, points_of
from warehouse import Outcomes

POINT_POLICIES = ("random", "cheapest", "best single")  # one cost and one accuracy, no curve
PLAIN_POLICIES = (*POINT_POLICIES, "zero-router")  # they learn nothing from the text


@dataclass
class SeedResult:
    """Everything measured on one split."""

    rows: NDArray[np.intp]  # [n] test questions, as rows of the outcomes
    best_single: int  # column, chosen on train and validation
    test: dict[str, PolicyPoints]
    validation: dict[str, PolicyPoints]
    #: policy -> answers that a query waited for, one after the other [settings, n]; else it is one each
    calls: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    #: policy -> how long these took [settings, n]; NaN where it was not recorded
    latency_s: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of_plain_policies(
        cls, outcomes: Outcomes, test: NDArray[np.intp], seen: NDArray[np.intp]
    ) -> SeedResult:
        """Measure the policies that learn nothing from the text."""
        score, cost = outcomes.score[test], outcomes.cost_usd[test]
        n, m = score.shape
        known = outcomes.score[seen]
        known = known[np.isfinite(known).all(axis=1)]
        mean_cost = np.nanmean(outcomes.cost_usd[seen], axis=0)
        best = int(np.lexsort((mean_cost, -known.mean(axis=0)))[0])
        cheapest = int(mean_cost.argmin())

        def constant(column: int) -> PolicyPoints:
            return points_of(np.full((1, n), column), score, cost)

        singles = points_of(np.repeat(np.arange(m)[:, None], n, axis=1), score, cost)
        frontier = find_frontier(score, cost)
        oracle = points_of(frontier.choose(frontier.settings()), score, cost)
        test_points = {
            "random": PolicyPoints(
                score.mean(axis=1, keepdims=True).T,
                cost.mean(axis=1, keepdims=True).T,
                np.full((1, n), -1, np.int16),
            ),
            "cheapest": constant(cheapest),
            "best single": constant(best),
            "zero-router": singles,
            "oracle": oracle,
        }
        return cls(test, best, test_points, {})
