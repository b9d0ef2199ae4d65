"""The universe: the best set of experts for the money, and how sure we are that it is the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from universe.model.expectation import Expected, raw_outcomes
from universe.model.limits import Hosting, Limits
from universe.model.program import Program, build_program, drop_dominated
from universe.model.universe import Universe
from universe.solver.limit_tests import conflicting_limits
from universe.solver.routing import Scenario, ScenarioRouter
from universe.solver.sampling import solve_by_sampling
from universe.solver.search import Progress
from universe.solver.solve import GAP, Solution, solve_program
from warehouse import InfeasibleError, InputError, Outcomes


def select_universe(
    outcomes: Outcomes,
    *,
    expected: Expected | None = None,
    max_experts: int | None = None,
    max_cost_usd: float | None = None,
    price_weight: float = 0.0,
    must_have: Sequence[str] = (),
    must_not: Sequence[str] = (),
    limits: Limits | None = None,
    hosting: Mapping[str, Hosting] | None = None,
    weight: NDArray[np.floating] | None = None,
    gap: float = GAP,
    time_limit_s: float = 60.0,
    sample: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Universe:
    """Choose the set of experts whose best routing is worth most: mean score minus priced cost.

    Args:
        outcomes: n questions, m experts.
        expected: cross-fitted success and cost, rows as in ``outcomes`` (see
            :func:`universe.model.expectation.cross_fit`). Without it the raw outcomes stand in, on the
            questions that every expert answered; that flatters large sets.
        max_experts: how many to keep at most.
        max_cost_usd: mean cost of a query at most, in USD.
        price_weight: score that one USD per query is worth; 0: cost counts only in the limits.
        must_have, must_not: experts that must be in or out.
        limits: all further limits; the four above are added to it.
        hosting: what each expert takes to host, by name.
        weight: [n] relative traffic of each question.
        gap: absolute gap, in score, at which the search may stop.
        time_limit_s: after which the best set so far is returned with its gap.
        sample: solve five samples of so many questions instead of the whole; the bound then holds with
            95% confidence, and the set is valued on all questions.
        on_progress: called after every round of the search.

    Raises:
        InputError: a number is impossible, or no set holds all the limits.
    """
    limits = limits or Limits()
    limits = replace(
        limits,
        max_experts=limits.max_experts if max_experts is None else max_experts,
        max_cost_usd=limits.max_cost_usd if max_cost_usd is None else max_cost_usd,
        must_have=tuple(dict.fromkeys([*limits.must_have, *must_have])),
        must_not=tuple(dict.fromkeys([*limits.must_not, *must_not])),
    )
    program = universe_program(
        outcomes, expected=expected, limits=limits, hosting=hosting, weight=weight, price_weight=price_weight
    )
    small, dominated = drop_dominated(program)
    if sample is not None:
        return describe(program, small, dominated, solve_sampled(small, sample, time_limit_s))
    solution = solve_program(small, gap=gap, time_limit_s=time_limit_s, on_progress=on_progress)
    return describe(program, small, dominated, solution)


def solve_sampled(program: Program, questions: int, time_limit_s: float) -> Solution:
    """The best of five samples' sets as a solution whose bound holds with 95% confidence."""
    began = time.perf_counter()
    found = solve_by_sampling(program, questions=questions, time_limit_s=time_limit_s / 5)
    high = max(found.bound_interval[1], found.best.value)
    return Solution(found.best, high, "sampled", time.perf_counter() - began, high, 0, found.samples)


def universe_program(
    outcomes: Outcomes,
    *,
    expected: Expected | None = None,
    limits: Limits | None = None,
    hosting: Mapping[str, Hosting] | None = None,
    weight: NDArray[np.floating] | None = None,
    price_weight: float = 0.0,
) -> Program:
    """The program of a table of outcomes; arguments as in :func:`select_universe`."""
    domains = outcomes.domains
    if expected is None:
        expected, complete = raw_outcomes(outcomes)
        domains = domains[complete]
        weight = None if weight is None else weight[complete]
    elif expected.score.shape != outcomes.score.shape:
        raise InputError(
            f"has shape {list(expected.score.shape)}, the outcomes {list(outcomes.score.shape)}",
            where="expected",
        )
    return build_program(
        outcomes.experts,
        expected.score,
        expected.cost_usd,
        domains=domains,
        weight=weight,
        hosting=hosting,
        limits=limits,
        price_weight=price_weight,
    )


def describe(program: Program, solved: Program, dominated: Mapping[str, str], solution: Solution) -> Universe:
    """The universe of a solution; experts that get no traffic and need not be there are left out.

    Raises:
        InfeasibleError: the solution is empty: no set holds all the limits, or none was found in time.
    """
    best = solution.best
    if best is None:
        if solution.status == "infeasible":
            names = conflicting_limits(solved)
            raise InfeasibleError(
                f"no set of experts holds these limits together: {'; '.join(names)}", fix="loosen one of them"
            )
        raise InfeasibleError("no set was found in time", fix="allow more time")
    share = np.mean([r.share for r in best.routed], axis=0)
    keep = best.members & ((share > 1e-12) | np.isin(solved.experts, program.limits.must_have))
    chosen = [solved.experts[j] for j in np.flatnonzero(keep)]
    replicas = {solved.experts[j]: int(best.replicas[j]) for j in np.flatnonzero(keep)}
    hosting = dict(zip(program.experts, program.hosting, strict=True))
    routed = best.routed[0]
    router = ScenarioRouter(solved, Scenario(solved.weight, np.ones(len(solved.experts))))
    return Universe(
        experts=tuple(sorted(chosen, key=lambda name: -share[solved.experts.index(name)])),
        status=solution.status,
        objective=best.value,
        bound=solution.bound,
        wall_s=solution.wall_s,
        expected_score=float(np.mean([r.score for r in best.routed])),
        expected_cost_usd=float(np.mean([r.cost_usd for r in best.routed])),
        usd_per_hour=sum(hosting[name].usd_per_hour * count for name, count in replicas.items()),
        share={name: float(share[solved.experts.index(name)]) for name in chosen},
        replicas=replicas,
        prices=router.prices(routed.multiplier),
        left_out=tuple(name for name in program.experts if name not in chosen),
        dominated=dict(dominated),
        questions=len(program.weight),
        limits=program.limits,
        price_weight=program.price_weight,
    )
