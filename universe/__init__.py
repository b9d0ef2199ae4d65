"""Which experts to keep: integer programs over the outcomes, the frontier, and the gaps that remain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from universe.model.expectation import Expected, cross_fit
from universe.model.limits import Hosting, Limits, NodeType

if TYPE_CHECKING:  # the solver is loaded when first used, so that importing the package stays instant
    from universe.analysis.candidate import CandidateValue, value_candidate
    from universe.analysis.explain import binding_limits, marginal_values
    from universe.analysis.frontier import Frontier, trace_frontier
    from universe.analysis.gaps import Gap, GapReport, brief_for_expert, brief_for_questions, find_gaps
    from universe.analysis.held_out import route_held_out
    from universe.analysis.robust import select_robust, uncertain_world
    from universe.model.program import near_identical
    from universe.model.universe import Universe
    from universe.pool_file import apply_plan
    from universe.solver.limit_tests import conflicting_limits
    from universe.solver.sampling import solve_by_sampling
    from universe.solver.select import select_universe, universe_program

_LAZY = {
    "CandidateValue": "universe.analysis.candidate",
    "value_candidate": "universe.analysis.candidate",
    "binding_limits": "universe.analysis.explain",
    "conflicting_limits": "universe.solver.limit_tests",
    "marginal_values": "universe.analysis.explain",
    "Frontier": "universe.analysis.frontier",
    "trace_frontier": "universe.analysis.frontier",
    "Gap": "universe.analysis.gaps",
    "GapReport": "universe.analysis.gaps",
    "brief_for_expert": "universe.analysis.gaps",
    "brief_for_questions": "universe.analysis.gaps",
    "find_gaps": "universe.analysis.gaps",
    "route_held_out": "universe.analysis.held_out",
    "apply_plan": "universe.pool_file",
    "near_identical": "universe.model.program",
    "select_robust": "universe.analysis.robust",
    "uncertain_world": "universe.analysis.robust",
    "solve_by_sampling": "universe.solver.sampling",
    "Universe": "universe.model.universe",
    "select_universe": "universe.solver.select",
    "universe_program": "universe.solver.select",
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
