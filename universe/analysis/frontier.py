"""The frontier: the best universe for every budget, and what the next dollar buys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from universe.model.frontier_point import FrontierPoint
from universe.model.limits import Limits
from universe.model.program import Program, drop_dominated
from universe.model.universe import Universe
from universe.solver.select import describe
from universe.solver.solve import solve_program

Budget = Literal["max_cost_usd", "max_usd_per_hour", "max_experts"]


@dataclass(frozen=True)
class Frontier:
    """Universes by rising budget. A budget that no set can hold has None."""

    budget: Budget
    limits: tuple[float, ...]
    universes: tuple[Universe | None, ...]


def cost_points(frontier: Frontier) -> tuple[FrontierPoint, ...]:
    """Return what a frontier over the mean cost is drawn from; nothing of one over another budget."""
    if frontier.budget != "max_cost_usd":
        return ()
    return tuple(
        FrontierPoint(limit, u.experts, u.expected_score, u.expected_cost_usd, u.bound)
        for limit, u in zip(frontier.limits, frontier.universes, strict=True)
        if u is not None
    )


def with_budget(limits: Limits, budget: Budget, value: float) -> Limits:
    """The limits with one of them replaced."""
    if budget == "max_experts":
        return replace(limits, max_experts=int(value))
    if budget == "max_cost_usd":
        return replace(limits, max_cost_usd=value)
    return replace(limits, max_usd_per_hour=value)


def default_budgets(program: Program, budget: Budget, points: int = 20) -> list[float]:
    """Budgets from the least that any universe needs to where more buys nothing, evenly spaced in log."""
    allowed = [j for j, name in enumerate(program.experts) if name not in program.limits.must_not]
    if budget == "max_experts":
        return [float(k) for k in range(1, min(points, len(allowed)) + 1)]
    if budget == "max_cost_usd":
        cost = program.cost_usd[:, allowed]
        best = program.score[:, allowed].argmax(axis=1)
        low = float(program.weight @ cost.min(axis=1)) * 1.0001
        high = float(max(program.weight @ cost[np.arange(len(best)), best], (program.weight @ cost).max()))
    else:
        hourly = [program.hosting[j].usd_per_hour * program.hosting[j].min_replicas for j in allowed]
        low, high = min(hourly), sum(hourly)
    low = max(low, high * 1e-4, 1e-12)
    return [float(b) for b in np.geomspace(low, max(high, low), points)]


def trace_frontier(
    program: Program,
    budget: Budget = "max_cost_usd",
    budgets: Sequence[float] | None = None,
    *,
    points: int = 20,
    time_limit_s: float = 60.0,
    on_point: Callable[[int, int], None] | None = None,
) -> Frontier:
    """Solve the program at every budget, each from the last one's set.

    Args:
        program: whose limit ``budget`` is replaced.
        budget: the limit to vary.
        budgets: its values; :func:`default_budgets` when not given.
        points: how many default budgets.
        time_limit_s: for each budget.
        on_point: called with (done, total).
    """
    values = sorted(budgets if budgets is not None else default_budgets(program, budget, points))
    universes: list[Universe | None] = []
    warm: list[np.ndarray] = []
    small, dominated = drop_dominated(program)
    for done, value in enumerate(values, start=1):
        at = replace(small, limits=with_budget(small.limits, budget, value))
        solution = solve_program(at, time_limit_s=time_limit_s, warm_start=warm)
        if solution.best is None:
            universes.append(None)
        else:
            warm = [solution.best.members]
            full = replace(program, limits=with_budget(program.limits, budget, value))
            universes.append(describe(full, at, dominated, solution))
        if on_point:
            on_point(done, len(values))
        if solution.status == "interrupted":
            universes += [None] * (len(values) - done)
            break
    return Frontier(budget, tuple(values), tuple(universes))
