"""Hold a budget over a stream whose queries are not known in advance.

The price on cost (the multiplier) is set again every few queries so that the spending expected on what has
lately been seen matches what is left per query to come: re-solving of the dual, after Agrawal, Wang and Ye,
*A dynamic near-optimal algorithm for online linear programming* (2014), with Balseiro, Lu and Mirrokni's
*Dual mirror descent* (2020) as the idea behind pacing. A reservation at the ceiling price before each answer
makes the cap hard: whatever arrives and whatever it turns out to cost, spend never exceeds the budget.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.value import net_value
from warehouse import InputError

WINDOW = 384  # recent queries the price is set on, at most; towards the end as many as are still to come
SHORTEST_WINDOW = 64
RESOLVE_EVERY = 16  # queries between two settings of the price
RATIO_MEMORY = 8.0  # answers' worth of trust in the predicted price before actual prices outweigh it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reservation:
    """An expert chosen for a query, with the money put aside for it until :meth:`BudgetPacer.settle`."""

    expert: int  # column of the prediction
    reserved_usd: float
    multiplier: float


class BudgetPacer:
    """Chooses experts one query at a time within ``budget_usd`` for ``horizon`` queries.

    Use ``reserve`` before and ``settle`` after each answer; many reservations may be open at once.

    Args:
        budget_usd: what may be spent in all.
        horizon: how many queries the budget is for. If more come, they share what is left.
        sample_success: [k, m] predictions on earlier queries, to set the first price by.
        sample_cost_usd: [k, m] likewise.

    Raises:
        InputError: a budget or horizon that is not positive.
    """

    def __init__(
        self,
        budget_usd: float,
        horizon: int,
        *,
        sample_success: NDArray[np.floating],
        sample_cost_usd: Floats,
    ) -> None:
        if not budget_usd > 0 or horizon < 1:
            raise InputError(
                f"a budget of ${budget_usd} for {horizon} queries cannot be held", fix="both must be above 0"
            )
        self.budget_usd = float(budget_usd)
        self.horizon = horizon
        self.spent_usd = 0.0
        self.reserved_usd = 0.0
        self.seen = 0
        self.multiplier = 0.0
        self._window: deque[tuple[Floats, Floats]] = deque(maxlen=WINDOW)
        for success, cost in zip(sample_success[-WINDOW:], sample_cost_usd[-WINDOW:], strict=True):
            self._window.append((np.asarray(success, float), np.asarray(cost, float)))
        experts = sample_cost_usd.shape[1]
        self._paid, self._expected = np.zeros(experts), np.zeros(experts)
        self._mean_cost = np.maximum(np.asarray(sample_cost_usd, float).mean(axis=0), 1e-300)
        self._since_resolve = RESOLVE_EVERY

    @property
    def left_usd(self) -> float:
        """Neither spent nor reserved."""
        return self.budget_usd - self.spent_usd - self.reserved_usd

    def reserve(
        self,
        success: NDArray[np.floating],
        cost_usd: Floats,
        *,
        ceiling_usd: Floats | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Reservation | None:
        """Choose an expert for one query and put its ceiling price aside; None if nothing fits any more.

        Args:
            success: [m] expected scores.
            cost_usd: [m] expected costs.
            ceiling_usd: [m] the most each answer can cost (default: the expected cost, taken as certain).
            allowed: [m] experts that may answer.
        """
        ceiling = cost_usd if ceiling_usd is None else ceiling_usd
        usable = ceiling <= self.left_usd
        if allowed is not None:
            usable &= allowed
        self.seen += 1
        self._window.append((np.asarray(success, float), np.asarray(cost_usd, float)))
        if not usable.any():
            return None
        self._since_resolve += 1
        if self._since_resolve >= RESOLVE_EVERY:
            self._since_resolve = 0
            self.multiplier = self._resolve()
        # Keep enough for the cheapest answer to every query still to come, as long as there is enough.
        cheapest = float(np.where(usable, ceiling, np.inf).min())
        queries_after = max(self.horizon - self.seen, 0)
        spare = self.left_usd - queries_after * float((self._price_ratio() * self._mean_cost).min())
        affordable = usable & (ceiling <= max(spare, cheapest))
        value = net_value(success, cost_usd * self._price_ratio(), self.multiplier)
        chosen = int(np.where(affordable, value, -np.inf).argmax())
        self.reserved_usd += float(ceiling[chosen])
        return Reservation(chosen, float(ceiling[chosen]), self.multiplier)

    def settle(self, reservation: Reservation, *, expected_usd: float, paid_usd: float) -> None:
        """Book what the answer cost (0 if it failed) and release the rest of the reservation."""
        self.reserved_usd -= reservation.reserved_usd
        self.spent_usd += paid_usd
        self._paid[reservation.expert] += paid_usd
        self._expected[reservation.expert] += expected_usd

    def _price_ratio(self) -> Floats:
        """Actual over predicted price [m] of each expert, as far as answers have shown it."""
        trust = RATIO_MEMORY * self._mean_cost
        ratio: Floats = (self._paid + trust) / (self._expected + trust)
        return ratio

    def _resolve(self) -> float:
        """The least multiplier at which spending on the window stays within what is left per query."""
        to_come = max(self.horizon - self.seen + 1, 1)
        target = self.left_usd / to_come
        # A shift seen through a long window shows late, and late in the stream nothing makes up for it.
        recent = list(self._window)[-max(to_come, SHORTEST_WINDOW) :]
        success = np.array([s for s, _ in recent])
        cost = np.array([c for _, c in recent]) * self._price_ratio()
        return find_frontier(success, cost).multiplier_at_spend(target)
