"""Why this universe: what each expert adds, and which limits bind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from universe.model.program import Program
from universe.model.universe import Universe
from universe.solver.limit_tests import relaxations
from universe.solver.routing import Scenario, ScenarioRouter
from universe.solver.solve import solve_program


@dataclass(frozen=True)
class MarginalValue:
    """What one expert is worth to a universe, in score.

    For a kept expert: what the universe loses without it, the others kept. For one left out: what it would
    add on top, if the limits on the set were no object.
    """

    expert: str
    kept: bool
    value: float


@dataclass(frozen=True)
class BindingLimit:
    """A limit, and by how much the best universe would be better without it."""

    name: str
    worth: float  # score


def marginal_values(program: Program, experts: Sequence[str]) -> list[MarginalValue]:
    """Marginal values of all experts, kept ones first, each group by falling value.

    A kept expert without which the routing limits cannot hold has the value infinity.
    """
    router = ScenarioRouter(program, Scenario(program.weight, np.ones(len(program.experts))))
    ample = np.array([float(h.min_replicas) for h in program.hosting])
    if router.loaded:
        ample[:] = 1e9
    members = np.isin(program.experts, experts)

    def worth(chosen: np.ndarray) -> float:
        if not chosen.any():
            return float(program.weight @ program.score.min(axis=1))
        routed = router.evaluate(chosen, ample * chosen)
        return -math.inf if routed.violation > 0 else routed.value

    base = worth(members)
    values = []
    for j, name in enumerate(program.experts):
        flipped = members.copy()
        flipped[j] = not flipped[j]
        change = base - worth(flipped)
        values.append(MarginalValue(name, bool(members[j]), change if members[j] else -change))
    return sorted(values, key=lambda v: (not v.kept, -v.value))


def binding_limits(program: Program, value: float, *, time_limit_s: float = 20.0) -> list[BindingLimit]:
    """The limits that cost something, dearest first: each is lifted in turn and the program solved again."""
    found = []
    for name, without in relaxations(program.limits):
        solution = solve_program(replace(program, limits=without), time_limit_s=time_limit_s)
        if solution.best is not None and solution.best.value > value + 2e-5:
            found.append(BindingLimit(name, solution.best.value - value))
    return sorted(found, key=lambda b: -b.worth)


def reasons_to_keep(universe: Universe, values: Sequence[MarginalValue]) -> dict[str, str]:
    """Say in words why each expert of a universe is kept; ``values`` are those of its experts."""
    lost = {value.expert: value.value for value in values}
    return {name: _reason(name, universe, lost[name]) for name in universe.experts}


def _reason(name: str, universe: Universe, lost: float) -> str:
    if name in universe.limits.must_have:
        return "asked for"
    needed = "the limits need it" if lost == float("inf") else f"without it the score falls by {lost:.4f}"
    return f"answers {universe.share[name]:.1%} of the queries; {needed}"
