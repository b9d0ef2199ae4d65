"""Why this universe: what each expert adds, which limits bind, and which limits cannot hold together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from universe.model.limits import Limits, NodeType
from universe.model.program import Program
from universe.solver.routing import Router, Scenario
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
    router = Router(program, Scenario(program.weight, np.ones(len(program.experts))))
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
    for name, without in _relaxations(program.limits):
        solution = solve_program(replace(program, limits=without), time_limit_s=time_limit_s)
        if solution.best is not None and solution.best.value > value + 2e-5:
            found.append(BindingLimit(name, solution.best.value - value))
    return sorted(found, key=lambda b: -b.worth)


def conflicting_limits(program: Program, *, time_limit_s: float = 20.0) -> list[str]:
    """A smallest set of limits in conflict: none of them can be left out and the rest still conflict.

    The deletion filter of Chinneck and Dravnieks (1991), "Locating minimal infeasible constraint sets in
    linear programs": a limit that can be lifted with the rest still in conflict is lifted for good.
    """
    needed: list[str] = []
    limits = program.limits
    for name in [name for name, _ in _relaxations(limits)]:
        without = dict(_relaxations(limits))[name]
        lifted = replace(program, limits=without)
        solution = solve_program(lifted, gap=math.inf, time_limit_s=time_limit_s)
        if solution.status == "infeasible":
            limits = without
        else:
            needed.append(name)
    return needed


def _relaxations(limits: Limits) -> list[tuple[str, Limits]]:
    """Each limit by name, with the limits that are left when it is lifted."""
    lifted: list[tuple[str, Limits]] = []
    for name in ("max_experts", "max_cost_usd", "max_usd_per_hour", "queries_per_s"):
        if (value := getattr(limits, name)) is not None:
            change: dict[str, Any] = {name: None}
            lifted.append((f"{name} {value:g}", replace(limits, **change)))
    for node, size in limits.nodes.items():
        for unit in ("gpus", "gpu_memory_gib"):
            if math.isfinite(getattr(size, unit)):
                endless: dict[str, Any] = {unit: math.inf}
                wider: NodeType = replace(size, **endless)
                lifted.append(
                    (f"{unit} of node type {node}", replace(limits, nodes={**limits.nodes, node: wider}))
                )
    for field in ("must_have", "must_not", "exclusive"):
        entries = getattr(limits, field)
        for entry in entries:
            label = entry if isinstance(entry, str) else f"at most one of {', '.join(entry)}"
            rest = tuple(e for e in entries if e != entry)
            name = f"{field} {label}" if isinstance(entry, str) else label
            fewer: dict[str, Any] = {field: rest}
            lifted.append((name, replace(limits, **fewer)))
    for domain, floor in limits.min_score.items():
        rest_floors = {d: q for d, q in limits.min_score.items() if d != domain}
        lifted.append((f"min_score {domain} {floor:g}", replace(limits, min_score=rest_floors)))
    return lifted
