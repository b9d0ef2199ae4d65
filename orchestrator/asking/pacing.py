"""Hold a budget over a stream of plans, of which each may ask several experts.

A plan is one choice with an expected cost and a worst case. Before its first ask the worst case is reserved,
cut down to what the budget can spare, and the plan keeps to it; what it turns out not to need is free for
other plans at once. The price on cost follows what is left (:mod:`orchestrator.selection.stream_price`): at a
low price plans cost more than one answer, by a ratio that the stream shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.plans import MAX_ASKS, Limits
from orchestrator.asking.policy import Ask, AskingPolicy, PlanState, Stop
from orchestrator.asking.readings import Reading
from orchestrator.predictors.base import Prediction
from orchestrator.selection.overruns import price_ratio
from orchestrator.selection.stream_price import StreamPrice
from orchestrator.selection.value import net_value
from warehouse import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PacedPlan:
    """A plan under way, with the money that is set aside for the rest of it."""

    state: PlanState
    reserved_usd: float
    expected_usd: float  # of one answer at the price of that moment


class PlanPacer:
    """Begins plans within ``budget_usd`` for ``horizon`` queries; many may be under way at once.

    Spending never exceeds the budget as long as no answer costs more than its ceiling.

    Args:
        policy: that the plans follow.
        budget_usd: total budget.
        horizon: number of queries that the budget is for. If more come, they share what is left.
        sample: forecasts for earlier queries, which set the first price.

    Raises:
        InputError: the budget or the horizon is not positive, or the sample is empty.
    """

    def __init__(
        self,
        policy: AskingPolicy,
        budget_usd: float,
        horizon: int,
        *,
        sample: Prediction,
    ) -> None:
        if not len(sample.success):
            raise InputError(
                "no forecasts to set the first price by", fix="pass those of some earlier queries"
            )
        self._price = StreamPrice(budget_usd, horizon, sample.success, sample.cost_usd)
        self.policy, self.budget_usd = policy, float(budget_usd)
        self.spent_usd = self.reserved_usd = 0.0
        self._cheapest_usd = float(np.asarray(sample.cost_usd, float).mean(axis=0).min())
        self._paid = self._expected = 0.0

    @property
    def multiplier(self) -> float:
        """The price of the moment."""
        return self._price.multiplier

    @property
    def left_usd(self) -> float:
        """The money that is neither spent nor reserved."""
        return self.budget_usd - self.spent_usd - self.reserved_usd

    def begin(
        self,
        success: NDArray[np.floating],
        cost_usd: Floats,
        *,
        ceiling_usd: Floats,
        allowed: NDArray[np.bool_] | None = None,
        options: int = 0,
        max_asks: int = MAX_ASKS,
    ) -> PacedPlan | None:
        """Begin the plan of one query and reserve its worst case; None if no expert fits any more.

        Args:
            success: [m] expected scores.
            cost_usd: [m] expected costs.
            ceiling_usd: [m] most that an answer of each expert can cost: the price of the prompt and of
                ``max_tokens``.
            allowed: [m] experts that may be asked.
            options: how many answers the question offers; 0: any.
            max_asks: experts that may be asked.
        """
        usable = ceiling_usd <= self.left_usd
        if allowed is not None:
            usable = usable & allowed
        self._price.see(success, cost_usd)
        if not usable.any():
            return None
        ratio = self._ratio()
        self._price.follow(self.left_usd, 1.0, ratio)
        least = int(np.where(usable, ceiling_usd, np.inf).argmin())
        kept = self._price.keep_back(
            float(ceiling_usd[least]), float(cost_usd[least]), self._cheapest_usd * max(ratio, 1.0)
        )
        spare = max(self.left_usd - kept, float(ceiling_usd[least]))
        state = self.policy.plan(
            success, cost_usd, self.multiplier, allowed=usable, options=options,
            limits=Limits(max_asks=max_asks, ceiling_usd=spare, worst_usd=ceiling_usd),
        )  # fmt: skip
        reserved = self.policy.worst_case_usd(state)
        self.reserved_usd += reserved
        alone = int(net_value(success, cost_usd, self.multiplier).argmax())
        return PacedPlan(state, reserved, float(cost_usd[alone]))

    def next_action(self, plan: PacedPlan) -> Ask | Stop:
        """Return the expert to ask next, or the answer to return."""
        return self.policy.next_action(plan.state)

    def observe(self, plan: PacedPlan, expert: str, reading: Reading, paid_usd: float) -> PacedPlan:
        """Book an answer, and free what the rest of the plan cannot need any more."""
        return self._moved(plan, self.policy.observe(plan.state, expert, reading, paid_usd), paid_usd)

    def exclude(self, plan: PacedPlan, expert: str, paid_usd: float = 0.0) -> PacedPlan:
        """Book that an expert turned out not to answer; ``paid_usd`` for having tried."""
        return self._moved(plan, self.policy.exclude(plan.state, expert, paid_usd), paid_usd)

    def end(self, plan: PacedPlan) -> None:
        """Free what is still reserved for a plan that asks nobody any more."""
        self.reserved_usd -= plan.reserved_usd
        self._paid += plan.state.paid_usd
        self._expected += plan.expected_usd

    def _moved(self, plan: PacedPlan, state: PlanState, paid_usd: float) -> PacedPlan:
        left = max(self.policy.worst_case_usd(state) - state.paid_usd, 0.0)
        left = min(left, max(plan.reserved_usd - paid_usd, 0.0))
        self.spent_usd += paid_usd
        self.reserved_usd += left - plan.reserved_usd
        return replace(plan, state=state, reserved_usd=left)

    def _ratio(self) -> float:
        """What plans have cost over what one answer was expected to, drawn to 1 while there are few."""
        seen = self._price.seen
        is_known = seen > 1 and self._expected > 0
        mean_usd = self._expected / seen if is_known else max(self._cheapest_usd, 1e-300)
        (ratio,) = price_ratio(np.array([self._paid]), np.array([self._expected]), np.array([mean_usd]))
        return float(ratio)
