"""The policy over asking: for each query, which expert to ask next, or which answer to return.

Routing is the special case of one ask. With more, the forecasts of the router are the prior and the answers
are evidence: the policy asks another expert as long as the expected gain in success exceeds the price. It
never returns an unusable answer while another expert may be asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.decide import STOP, begin_plans, final_answers, next_actions
from orchestrator.asking.habits import Habits
from orchestrator.asking.plans import Limits, Plans
from orchestrator.asking.readings import INCOMPARABLE, NOT_ASKED, UNREADABLE, Reading
from warehouse import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ask:
    """Ask this expert next."""

    expert: str


@dataclass(frozen=True)
class Stop:
    """Return the answer of ``expert``; None if no expert was asked."""

    expert: str | None
    agreed: tuple[str, ...]  # experts that gave this answer
    success: float  # probability that it is right


@dataclass(frozen=True)
class PlanState:
    """The plan of one query, and its results so far."""

    plans: Plans  # one row
    keys: tuple[str, ...] = ()  # the answers given, in the order of their numbers in ``plans.given``

    @property
    def paid_usd(self) -> float:
        """The amount paid so far."""
        return float(self.plans.paid_usd[0])

    @property
    def asks(self) -> int:
        """The number of experts asked."""
        return int(self.plans.asks[0])


@dataclass(frozen=True)
class AskingPolicy:
    """Chooses the next expert and when to stop, for one query at a time, as needed while answers are awaited.

    :func:`orchestrator.asking.replay.replay` runs the same code over recorded answers.
    """

    habits: Habits

    def plan(
        self,
        success: NDArray[np.floating],
        cost_usd: Floats,
        multiplier: float,
        *,
        allowed: NDArray[np.bool_] | None = None,
        options: int = 0,
        limits: Limits | None = None,
    ) -> PlanState:
        """Begin the plan of one query.

        Args:
            success: [m] forecasts of the router.
            cost_usd: [m] forecasts.
            multiplier: success that a dollar has to buy.
            allowed: [m] the experts that may be asked; all by default.
            options: how many answers the question offers; 0: any.
            limits: on asks and dollars.

        Raises:
            InputError: the multiplier is below 0, no ask is allowed, or the arrays are of another pool.
        """
        m = len(self.habits.experts)
        if np.shape(success) != (m,) or np.shape(cost_usd) != (m,):
            raise InputError(
                f"forecasts of shapes {np.shape(success)} and {np.shape(cost_usd)} for {m} experts",
                fix="pass one success and one cost for each expert of the policy",
            )
        return PlanState(
            begin_plans(
                self.habits,
                np.asarray(success, float)[None],
                np.asarray(cost_usd, float)[None],
                multiplier,
                options=np.array([options]),
                allowed=None if allowed is None else np.asarray(allowed, bool)[None],
                limits=limits,
            )
        )

    def next_action(self, state: PlanState) -> Ask | Stop:
        """Return the expert to ask next, or the answer to return to the caller."""
        expert = int(next_actions(self.habits, state.plans).ask[0])
        return self.answer_now(state) if expert == STOP else Ask(self.habits.experts[expert])

    def answer_now(self, state: PlanState) -> Stop:
        """Return the answer that the plan would return if it stopped now."""
        experts = self.habits.experts
        best, success = final_answers(self.habits, state.plans)
        if best[0] < 0:
            return Stop(None, (), 0.0)
        given = state.plans.given[0]
        agreed = (given == given[best[0]]) & (given >= 0)
        agreed[best[0]] = True
        names = tuple(name for name, same in zip(experts, agreed, strict=True) if same)
        return Stop(experts[int(best[0])], names, float(success[0]))

    def observe(self, state: PlanState, expert: str, reading: Reading, paid_usd: float) -> PlanState:
        """Return the state after an expert has answered.

        Raises:
            InputError: the expert is not of this pool, or has answered in this plan before.
        """
        experts = self.habits.experts
        if expert not in experts:
            raise InputError(f"no expert is called {expert!r}", fix=f"use names of {', '.join(experts)}")
        column = experts.index(expert)
        if state.plans.given[0, column] != NOT_ASKED:
            raise InputError(f"{expert} has answered in this plan before", fix="ask each expert once")
        keys = state.keys
        if not reading.readable:
            own = UNREADABLE
        elif reading.key is None or not self.habits.comparable[column]:
            own = INCOMPARABLE
        else:
            keys = keys if reading.key in keys else (*keys, reading.key)
            own = keys.index(reading.key)
        told = self.habits.lengths.odds_of(column, reading.tokens) if own == INCOMPARABLE else 1.0
        plans = state.plans.observe(
            np.array([column]), np.array([own]), np.array([paid_usd], float), np.array([told])
        )
        return PlanState(plans, keys)

    def exclude(self, state: PlanState, expert: str, paid_usd: float = 0.0) -> PlanState:
        """Return the state after an expert turned out not to answer; ``paid_usd`` for having tried."""
        allowed = state.plans.allowed.copy()
        allowed[0, self.habits.experts.index(expert)] = False
        return replace(
            state, plans=replace(state.plans, allowed=allowed, paid_usd=state.plans.paid_usd + paid_usd)
        )

    def worst_case_usd(self, state: PlanState) -> float:
        """Return the most that the plan may cost in all, including what was paid already."""
        return float(state.plans.worst_case_usd()[0])
