"""Hold a budget over a stream of queries that are not known in advance.

The price on cost follows what is left (:mod:`orchestrator.selection.stream_price`). Before each answer its
ceiling, the maximum that it may cost, is reserved. Spending never exceeds the budget as long as no answer
exceeds its ceiling. If the caller can bound an answer (the price of the prompt and of ``max_tokens``), that
bound is the ceiling, and the cap is hard. If not, the ceiling is twice the forecast times the largest overrun
seen, in training and in the stream itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.selection.overruns import UNLEARNED_OVERRUN, price_ratio
from orchestrator.selection.stream_price import StreamPrice
from orchestrator.selection.value import net_value

MARGIN = 2.0  # a derived ceiling is so many times the largest overrun seen: no record is the last

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reservation:
    """An expert chosen for a query, with the money reserved for it until :meth:`BudgetPacer.settle`."""

    expert: int  # column of the prediction
    reserved_usd: float  # the most that the answer may cost
    multiplier: float
    is_derived: bool = False  # the most was foreseen, not known: the answer may exceed it


class BudgetPacer:
    """Chooses experts one query at a time within ``budget_usd`` for ``horizon`` queries.

    Use ``reserve`` before and ``settle`` after each answer; many reservations may be open at once.

    Args:
        budget_usd: total budget.
        horizon: number of queries that the budget is for. If more come, they share what is left.
        sample_success: [k, m] predictions for earlier queries, which set the first price.
        sample_cost_usd: [k, m] likewise.
        overrun: [m] largest known ratio of actual to forecast cost of each expert, from
            :attr:`orchestrator.predictors.cost.CostPredictor.overrun`; ceilings are derived from it.

    Raises:
        InputError: the budget or the horizon is not positive.
    """

    def __init__(
        self,
        budget_usd: float,
        horizon: int,
        *,
        sample_success: NDArray[np.floating],
        sample_cost_usd: Floats,
        overrun: Floats | None = None,
    ) -> None:
        self._price = StreamPrice(budget_usd, horizon, sample_success, sample_cost_usd)
        self.budget_usd = float(budget_usd)
        self.spent_usd = 0.0
        self.reserved_usd = 0.0
        experts = sample_cost_usd.shape[1]
        self._paid, self._expected = np.zeros(experts), np.zeros(experts)
        known = np.full(experts, np.nan) if overrun is None else overrun
        self._overrun = np.where(np.isfinite(known), np.maximum(known, 1.0), UNLEARNED_OVERRUN)
        self._surprise = 1.0  # by which answers of this stream have exceeded the overruns known before
        self._mean_cost = np.maximum(np.asarray(sample_cost_usd, float).mean(axis=0), 1e-300)

    @property
    def multiplier(self) -> float:
        """The price of the moment."""
        return self._price.multiplier

    @property
    def left_usd(self) -> float:
        """The money that is neither spent nor reserved."""
        return self.budget_usd - self.spent_usd - self.reserved_usd

    def reserve(
        self,
        success: NDArray[np.floating],
        cost_usd: Floats,
        *,
        ceiling_usd: Floats | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Reservation | None:
        """Choose an expert for one query and reserve its ceiling; None if no expert fits any more.

        Args:
            success: [m] expected scores.
            cost_usd: [m] expected costs.
            ceiling_usd: [m] maximum cost of each answer, if the caller enforces one; derived where it is
                NaN or not given.
            allowed: [m] experts that may answer.
        """
        derived = MARGIN * self._surprise * self._overrun * cost_usd
        known = np.zeros(len(derived), bool) if ceiling_usd is None else np.isfinite(ceiling_usd)
        ceiling = derived if ceiling_usd is None else np.where(known, ceiling_usd, derived)
        usable = ceiling <= self.left_usd
        if allowed is not None:
            usable &= allowed
        self._price.see(success, cost_usd)
        if not usable.any():
            return None
        ratio = price_ratio(self._paid, self._expected, self._mean_cost)  # as far as answers have shown it
        self._price.follow(self.left_usd, ratio)
        cheapest = int(np.where(usable, ceiling, np.inf).argmin())
        kept = self._price.keep_back(
            float(ceiling[cheapest]), float(cost_usd[cheapest]), float((ratio * self._mean_cost).min())
        )
        affordable = usable & (ceiling <= max(self.left_usd - kept, float(ceiling[cheapest])))
        value = net_value(success, cost_usd * ratio, self.multiplier)
        chosen = int(np.where(affordable, value, -np.inf).argmax())
        self.reserved_usd += float(ceiling[chosen])
        return Reservation(chosen, float(ceiling[chosen]), self.multiplier, not known[chosen])

    def settle(self, reservation: Reservation, *, expected_usd: float, paid_usd: float) -> None:
        """Book the cost of the answer (0 if it failed) and release the rest of the reservation."""
        self.reserved_usd -= reservation.reserved_usd
        self.spent_usd += paid_usd
        self._paid[reservation.expert] += paid_usd
        self._expected[reservation.expert] += expected_usd
        foreseen = self._overrun[reservation.expert] * expected_usd
        if foreseen > 0:
            self._surprise = max(self._surprise, paid_usd / foreseen)
