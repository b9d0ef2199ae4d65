"""What-if analysis: what one more expert would add, and up to which price it would earn its place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from universe.model.program import Program
from universe.solver.solve import GAP, solve_program
from warehouse import InfeasibleError, NotReadyError


@dataclass(frozen=True)
class CandidateValue:
    """A candidate's worth to the best universe under the program's limits and prices."""

    expert: str
    value_without: float  # best objective when it is not allowed
    value_with: float  # best objective when it is, at its present price
    chosen: bool  # whether it is in the best universe at its present price
    replaces: tuple[str, ...]  # experts of the old universe that go
    price_usd: float  # mean cost of a query at present
    break_even_usd: float  # mean cost of a query up to which it improves the universe; inf: at any price

    @property
    def gain(self) -> float:
        """Score that the candidate adds to the objective at its present price."""
        return max(0.0, self.value_with - self.value_without)


def value_candidate(program: Program, candidate: str, *, time_limit_s: float = 30.0) -> CandidateValue:
    """Solve with and without the candidate, then search for the price at which the two are equal.

    The price of the candidate is scaled as a whole (query cost and hosting price); one whose queries are free
    is given the same price on each, hosting aside. The value with it never rises with its price, so bisection
    finds the break-even to 0.1%.

    Raises:
        NotReadyError: the candidate has no outcomes.
        InfeasibleError: the limits allow no universe without it.
    """
    if candidate not in program.experts:
        raise NotReadyError(
            f"no answers of an expert called {candidate!r}",
            fix=f"answer some questions with it first; known: {', '.join(program.experts)}",
        )
    j = program.experts.index(candidate)
    limits = replace(
        program.limits,
        must_have=tuple(n for n in program.limits.must_have if n != candidate),
        must_not=tuple(n for n in program.limits.must_not if n != candidate),
    )
    without = solve_program(
        replace(program, limits=replace(limits, must_not=(*limits.must_not, candidate))),
        time_limit_s=time_limit_s,
    )
    if without.best is None:
        raise InfeasibleError(
            f"without {candidate!r} no set of experts holds all the limits", fix="loosen one of them"
        )
    base, old = without.best.value, without.best.members
    is_free = not program.cost_usd[:, j].any()
    own_cost = program.cost_usd[:, j]
    if is_free:
        own_cost = np.full_like(own_cost, program.cost_usd.mean() or 1.0)

    def solve_at(factor: float) -> tuple[float, np.ndarray]:
        cost = program.cost_usd.copy()
        cost[:, j] = own_cost * factor
        hosting = list(program.hosting)
        if not is_free:
            hosting[j] = replace(hosting[j], usd_per_hour=hosting[j].usd_per_hour * factor)
        priced = replace(program, cost_usd=cost, hosting=tuple(hosting), limits=limits)
        best = solve_program(priced, time_limit_s=time_limit_s, warm_start=[old]).best
        return (best.value, best.members) if best is not None else (base, old)

    def earns(factor: float) -> bool:
        return solve_at(factor)[0] > base + 2 * GAP

    now, members = solve_at(0.0 if is_free else 1.0)
    low, high = 0.0, 1.0
    if not earns(0.0):
        high = 0.0
    elif earns(1e6):
        low = high = np.inf
    else:
        while earns(high):
            low, high = high, high * 4
        while high - low > 1e-3 * high and high > 1e-6:
            middle = np.sqrt(low * high) if low > 0 else high / 8
            low, high = (middle, high) if earns(middle) else (low, middle)
    price = float(program.weight @ own_cost)
    names = np.array(program.experts)
    return CandidateValue(
        expert=candidate,
        value_without=base,
        value_with=max(now, base),
        chosen=bool(members[j] and now > base + 2 * GAP),
        replaces=tuple(names[old & ~members]) if members[j] else (),
        price_usd=0.0 if is_free else price,
        break_even_usd=float(np.inf if np.isinf(low) else price * (low if low > 0 else high)),
    )
