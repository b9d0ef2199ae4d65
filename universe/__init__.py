"""Which experts to keep: integer programs over the outcomes, the frontier, and the gaps that remain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from universe.expected import Expected, cross_fit
from universe.limits import Hosting, Limits, NodeType

if TYPE_CHECKING:  # the solver is loaded when first used, so that importing the package stays instant
    from universe.candidate import CandidateValue, value_candidate
    from universe.explain import binding_limits, conflicting_limits, marginal_values
    from universe.frontier import Frontier, trace_frontier
    from universe.gaps import Gap, GapReport, brief_for_expert, brief_for_questions, find_gaps
    from universe.held_out import route_held_out
    from universe.pool import apply_plan
    from universe.program import near_identical
    from universe.robust import select_robust, uncertain_world
    from universe.sampling import solve_by_sampling
    from universe.select import Universe, select_universe, universe_program

_LAZY = {
    "CandidateValue": "universe.candidate",
    "value_candidate": "universe.candidate",
    "binding_limits": "universe.explain",
    "conflicting_limits": "universe.explain",
    "marginal_values": "universe.explain",
    "Frontier": "universe.frontier",
    "trace_frontier": "universe.frontier",
    "Gap": "universe.gaps",
    "GapReport": "universe.gaps",
    "brief_for_expert": "universe.gaps",
    "brief_for_questions": "universe.gaps",
    "find_gaps": "universe.gaps",
    "route_held_out": "universe.held_out",
    "apply_plan": "universe.pool",
    "near_identical": "universe.program",
    "select_robust": "universe.robust",
    "uncertain_world": "universe.robust",
    "solve_by_sampling": "universe.sampling",
    "Universe": "universe.select",
    "select_universe": "universe.select",
    "universe_program": "universe.select",
}

__all__ = [
    "CandidateValue",
    "Expected",
    "Frontier",
    "Gap",
    "GapReport",
    "Hosting",
    "Limits",
    "NodeType",
    "Universe",
    "apply_plan",
    "binding_limits",
    "brief_for_expert",
    "brief_for_questions",
    "conflicting_limits",
    "cross_fit",
    "find_gaps",
    "marginal_values",
    "near_identical",
    "route_held_out",
    "select_robust",
    "select_universe",
    "solve_by_sampling",
    "trace_frontier",
    "uncertain_world",
    "universe_program",
    "value_candidate",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'universe' has no attribute {name!r}")
