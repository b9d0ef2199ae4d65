"""The price on cost over a stream, which pacers of single answers and of plans share.

Every few queries the price (the multiplier) is set so that the expected spending on recent queries matches
the budget left per remaining query. This is re-solving of the dual, after Agrawal, Wang and Ye, *A dynamic
near-optimal algorithm for online linear programming* (2014); the idea of pacing is that of Balseiro, Lu and
Mirrokni's *Dual mirror descent* (2020).
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from orchestrator.selection.frontier import find_frontier
from warehouse import InputError

WINDOW = 384  # recent queries the price is set on, at most; towards the end as many as are still to come
SHORTEST_WINDOW = 64
RESOLVE_EVERY = 16  # queries between two settings of the price

Floats = NDArray[np.float64]


class StreamPrice:
    """The price of the moment, and what has to be kept back for queries still to come.

    Args:
        budget_usd: of the whole stream.
        horizon: number of queries that it is for. If more come, they share what is left.
        sample_success: [k, m] predictions for earlier queries, which set the first price.
        sample_cost_usd: [k, m] likewise.

    Raises:
        InputError: the budget or the horizon is not positive.
    """

    def __init__(
        self,
        budget_usd: float,
        horizon: int,
        sample_success: NDArray[np.floating],
        sample_cost_usd: NDArray[np.floating],
    ) -> None:
        if not budget_usd > 0 or horizon < 1:
            raise InputError(
                f"a budget of ${budget_usd} for {horizon} queries cannot be held", fix="both must be above 0"
            )
        self.horizon, self.seen, self.multiplier = horizon, 0, 0.0
        self._window: deque[tuple[Floats, Floats]] = deque(maxlen=WINDOW)
        for success, cost_usd in zip(sample_success[-WINDOW:], sample_cost_usd[-WINDOW:], strict=True):
            self._window.append((np.asarray(success, float), np.asarray(cost_usd, float)))
        self._slack: deque[float] = deque(maxlen=SHORTEST_WINDOW)  # cheapest ceilings above their forecasts
        self._since_set = RESOLVE_EVERY

    def see(self, success: NDArray[np.floating], cost_usd: NDArray[np.floating]) -> None:
        """Note that a query came, with its forecasts [m]."""
        self.seen += 1
        self._window.append((np.asarray(success, float), np.asarray(cost_usd, float)))

    def follow(self, left_usd: float, ratio: Floats | float, answers: float = 1.0) -> float:
        """Return the price for the query that came last; set anew every few queries.

        It is the least multiplier at which spending on the window stays within what is left per query.

        Args:
            left_usd: money that is neither spent nor reserved.
            ratio: of actual to forecast cost, of all or of each expert [m].
            answers: what a query comes to, in answers of the cost expected at this price.
        """
        self._since_set += 1
        if self._since_set >= RESOLVE_EVERY:
            self._since_set = 0
            to_come = max(self.horizon - self.seen + 1, 1)
            target = max(left_usd - self._last_slack(), 0.0) / to_come / answers
            # A shift seen through a long window shows late, and late in the stream nothing makes up for it.
            recent = list(self._window)[-max(to_come, SHORTEST_WINDOW) :]
            cost_usd = np.array([c for _, c in recent]) * ratio
            frontier = find_frontier(np.array([s for s, _ in recent]), cost_usd)
            self.multiplier = frontier.multiplier_at_spend(target)
        return self.multiplier

    def keep_back(self, ceiling_usd: float, expected_usd: float, cheapest_usd: float) -> float:
        """Return the money for the cheapest answer to every query to come, and for the ceiling of the last.

        Args:
            ceiling_usd: of the cheapest answer to the query that came last.
            expected_usd: its forecast.
            cheapest_usd: what the cheapest answer to a query costs on average.
        """
        self._slack.append(max(ceiling_usd - expected_usd, 0.0))
        after = max(self.horizon - self.seen, 0)
        return after * cheapest_usd + min(after, 1) * self._last_slack()

    def _last_slack(self) -> float:
        """What the last answer's ceiling takes beyond its forecast, and will leave unspent."""
        return max(self._slack, default=0.0)
