"""Exploring: for a share of the requests a drawn expert replaces the chosen one, within all limits.

The random numbers are drawn before the money is reserved, and the ledger reports for every request, whatever
was drawn, up to which cost an expert may be explored now. So the propensities are exact: they are greedy if
the day's money is spent, exploring is off, a conversation stays with its expert, or several experts are
asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from experts.upstream import Ask
from orchestrator import Decision
from orchestrator.selection.exploration import explore, propensities_of
from orchestrator.selection.value import net_value
from serve.config import ServeConfig
from serve.ledger.messages import MOST_USD, Caller, Explored
from serve.request.in_flight import Dice, Plan

_ROUNDING_USD = 1e-12


def throw_dice(config: ServeConfig, caller: Caller, rng: np.random.Generator, *, is_routed: bool) -> Dice:
    """Throw them for a request: by the key's share, else the endpoint's."""
    share = config.explore_share if caller.explore_share is None else caller.explore_share
    explores = bool(rng.random() < share) if is_routed and share else None
    return Dice(share, config.explore_temperature, explores)


def explore_plan(
    plan: Plan,
    affordable: Sequence[str],
    asks: Mapping[str, Ask],
    dice: Dice,
    explore_usd: float,
    min_success: float | None,
    rng: np.random.Generator,
) -> Plan:
    """Return the plan with each expert's probability of being asked first, and the drawn expert in front.

    Args:
        plan: as it was decided.
        affordable: of its order, those that the budget covers; one or more.
        asks: what each can cost at most.
        dice: the random numbers of the request.
        explore_usd: the most that an expert's answer may cost to be explored.
        min_success: of the request; experts expected to reach less are not drawn.
        rng: the source of randomness.
    """
    first, ruling = affordable[0], plan.ruling
    greedy = replace(plan, greedy=first, propensities={first: 1.0})
    if ruling is None or dice.explores is None or not plan.may_explore:
        return greedy
    names = _explorable(ruling.decision, affordable, asks, explore_usd, min_success)
    if len(names) < 2:
        return greedy
    decision = ruling.decision
    value = np.array(
        [[net_value(decision.success[n], decision.cost_usd[n], decision.multiplier) for n in names]]
    )
    value[0, 0] = value.max()  # the choice is the choice, whatever rounding says of two that are equal
    allowed = np.ones_like(value, bool)
    chances = propensities_of(value, allowed, dice.share, dice.temperature)[0]
    plan = replace(greedy, propensities=dict(zip(names, chances.tolist(), strict=True)))
    if not dice.explores:
        return plan
    drawn = names[int(explore(value, allowed, 1.0, dice.temperature, rng)[0][0])]
    if drawn == first:
        return plan
    others = tuple(name for name in plan.order if name != drawn)
    reason = f"{drawn} was drawn to learn of it; {first} was the choice"
    return replace(plan, order=(drawn, *others), reason=reason, explored=True)


def explored_cost(plan: Plan, dice: Dice, spent_usd: float) -> Explored | None:
    """Return what becomes of the money set aside for exploring, once a request has cost what it did."""
    if not dice.explores:
        return None
    if not plan.explored or plan.ruling is None or plan.greedy is None:
        return Explored()
    cost_usd, greedy = plan.ruling.decision.cost_usd, plan.greedy
    return Explored(
        plan.order[0],
        max(0.0, cost_usd[plan.order[0]] - cost_usd[greedy]),
        max(0.0, spent_usd - cost_usd[greedy]),
    )


def _explorable(
    decision: Decision,
    affordable: Sequence[str],
    asks: Mapping[str, Ask],
    explore_usd: float,
    min_success: float | None,
) -> list[str]:
    """Return the greedy choice and those that may be drawn instead; the greedy one is first."""
    first = affordable[0]
    if min_success is not None and decision.success[first] < min_success:
        return [first]  # it comes nearest to what is wanted: nobody else may stand in by chance
    return [
        name
        for name in affordable
        if name == first
        or (
            min(asks[name].most_usd, MOST_USD) <= explore_usd + _ROUNDING_USD
            and (min_success is None or decision.success[name] >= min_success)
        )
    ]
