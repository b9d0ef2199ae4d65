"""Pacing: the price on cost at which a key's requests cost, on average, what its budget has left for each."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator import Decision, Orchestrator
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.stream_price import WINDOW
from serve.router.messages import Query
from warehouse import InputError

PRICED_ANEW_EVERY = 16  # decisions


class RecentForecasts:
    """The recent forecasts for every expert, from which prices are set."""

    def __init__(self) -> None:
        self._experts: tuple[str, ...] = ()
        self._success: deque[NDArray[np.float64]] = deque(maxlen=WINDOW)
        self._cost_usd: deque[NDArray[np.float64]] = deque(maxlen=WINDOW)
        self._prices: dict[tuple[float, tuple[str, ...] | None], float] = {}
        self._since_priced = 0

    def add(self, decision: Decision) -> None:
        """Note a decision's forecasts; those of another pool are forgotten."""
        experts = tuple(decision.success)
        if experts != self._experts:
            self._experts, self._prices = experts, {}
            self._success.clear()
            self._cost_usd.clear()
        self._success.append(np.array(list(decision.success.values())))
        self._cost_usd.append(np.array([decision.cost_usd[name] for name in experts]))
        self._since_priced += 1
        if self._since_priced >= PRICED_ANEW_EVERY:
            self._since_priced, self._prices = 0, {}

    def price(self, allowance_usd: float, allow: tuple[str, ...] | None) -> float:
        """The least price at which such queries cost ``allowance_usd`` on average; 0 until there are any."""
        columns = [j for j, name in enumerate(self._experts) if allow is None or name in allow]
        if not columns:
            return 0.0
        rounded = float(f"{allowance_usd:.2g}")  # few prices, so that queries can be decided together
        if (known := self._prices.get((rounded, allow))) is None:
            success, cost_usd = np.array(self._success)[:, columns], np.array(self._cost_usd)[:, columns]
            frontier = find_frontier(success, cost_usd)
            known = self._prices[rounded, allow] = frontier.multiplier_at_spend(rounded)
        return known


def pace(query: Query, recent: RecentForecasts, orchestrator: Orchestrator) -> Query:
    """Return a query with an allowance at the price that keeps to it, or at its own price if that is higher.

    One whose own price or preset is none is left as it is: who decides on it will say so.
    """
    if query.allowance_usd is None:
        return query
    try:
        own = orchestrator.price_of(query.multiplier, query.preset)
    except InputError:
        return query
    return replace(query, multiplier=max(own, recent.price(query.allowance_usd, query.allow)), preset=None)
