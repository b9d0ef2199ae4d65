"""Find the limits that conflict, by lifting them in turn."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from universe.model.limits import Limits, NodeType
from universe.model.program import Program
from universe.solver.solve import solve_program


def conflicting_limits(program: Program, *, time_limit_s: float = 20.0) -> list[str]:
    """A smallest set of limits in conflict: none of them can be left out and the rest still conflict.

    The deletion filter of Chinneck and Dravnieks (1991), "Locating minimal infeasible constraint sets in
    linear programs": a limit that can be lifted with the rest still in conflict is lifted for good.
    """
    needed: list[str] = []
    limits = program.limits
    for name in [name for name, _ in relaxations(limits)]:
        without = dict(relaxations(limits))[name]
        lifted = replace(program, limits=without)
        solution = solve_program(lifted, gap=math.inf, time_limit_s=time_limit_s)
        if solution.status == "infeasible":
            limits = without
        else:
            needed.append(name)
    return needed


def relaxations(limits: Limits) -> list[tuple[str, Limits]]:
    """Each limit by name, with the limits that are left when it is lifted."""
    lifted: list[tuple[str, Limits]] = []
    for name in ("max_experts", "max_cost_usd", "max_usd_per_hour", "queries_per_s"):
        if (value := getattr(limits, name)) is not None:
            change: dict[str, Any] = {name: None}
            unit = f" ($ {value * 1000:g} per 1,000 queries)" if name == "max_cost_usd" else ""
            lifted.append((f"{name} {value:g}{unit}", replace(limits, **change)))
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
