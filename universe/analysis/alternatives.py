"""The sets that come nearest to the best one, and what they reach where somebody has tried them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from universe.model.program import Program
from universe.model.risk import Risk
from universe.model.universe import Universe
from universe.solver.heuristics import Candidate, SetValuer
from universe.solver.master import linear_rows
from universe.solver.routing import Scenario, ScenarioRouter
from universe.solver.select import describe
from universe.solver.solve import Solution
from warehouse import InfeasibleError

MOVES = 3  # moves that are valued exactly, for each set that is wanted

Members = NDArray[np.bool_]


@dataclass(frozen=True)
class RankedSet:
    """A set of experts within the limits, and its objective: mean expected score minus priced cost."""

    experts: tuple[str, ...]
    value: float


@dataclass(frozen=True)
class SetByPolicy:
    """What a routing policy reaches with a set on questions it has not learned from, at a price."""

    experts: tuple[str, ...]
    score: float  # mean; NaN where the policy cannot keep to the budget with this set
    interval: tuple[float, float]  # bootstrap, 95%
    gain: float  # over the first of the sets, on the same questions
    gain_interval: tuple[float, float]
    cost_usd: float  # mean paid per query
    asks: float  # mean number of experts asked, one after the other
    questions: int


def nearest_sets(program: Program, experts: Sequence[str], count: int) -> list[RankedSet]:
    """Return up to ``count`` sets of high value near a given one, which comes first; the others by value.

    Near: by single additions, removals and exchanges, from the given set and then from the best ones found.
    Only the moves of highest worth at the multipliers of the set they start from are valued exactly, so that
    this is a good list, not a proven one.

    Raises:
        InfeasibleError: the given set breaks a limit.
    """
    valuer = _valuer(program)
    first = valuer.evaluate(np.isin(program.experts, experts))
    if first is None:
        raise InfeasibleError(f"{', '.join(experts)} do not hold all the limits together")
    found = {first.members.tobytes(): first}
    done: set[bytes] = set()
    while True:
        best = sorted(found.values(), key=lambda one: -one.value)[:count]
        opened = next((one for one in best if one.members.tobytes() not in done), None)
        if opened is None:
            break
        done.add(opened.members.tobytes())
        for members in _moves(valuer, opened)[: MOVES * count]:
            if members.tobytes() not in found:
                candidate = valuer.evaluate(members, starts=[r.multiplier for r in opened.routed])
                if candidate is not None:
                    found[members.tobytes()] = candidate
    others = [one for one in best if one is not first]
    return [_ranked(program, one) for one in [first, *others][:count]]


def keep_set(program: Program, experts: Sequence[str], best: Universe) -> Universe:
    """Return the universe of another set than the best one, whose bound still holds.

    Raises:
        InfeasibleError: the set breaks a limit.
    """
    limits = replace(program.limits, must_have=tuple(experts))  # it is kept whole, used by the program or not
    fixed = replace(program, limits=limits)
    candidate = _valuer(fixed).evaluate(np.isin(program.experts, experts))
    if candidate is None:
        raise InfeasibleError(f"{', '.join(experts)} do not hold all the limits together")
    bound = max(best.bound, candidate.value)
    solution = Solution(candidate, bound, best.status, best.wall_s, bound, 0, 0)
    dominated = {name: by for name, by in best.dominated.items() if name not in experts}
    return replace(describe(fixed, fixed, dominated, solution), limits=program.limits)


def _valuer(program: Program) -> SetValuer:
    router = ScenarioRouter(program, Scenario(program.weight, np.ones(len(program.experts))))
    return SetValuer(program, [router], linear_rows(program), Risk())


def _moves(valuer: SetValuer, start: Candidate) -> list[Members]:
    """Sets one addition, removal or exchange away that hold the limits on the set, by worth at its prices."""
    multipliers = [r.multiplier for r in start.routed]
    worths: list[tuple[float, Members]] = []
    for out in [None, *np.flatnonzero(start.members)]:
        rest = start.members.copy()
        if out is not None:
            rest[out] = False
        worth, gains = valuer.gains(rest, multipliers)
        if out is not None and rest.any():
            worths.append((worth, rest))
        for into in np.flatnonzero(~start.members):
            members = rest.copy()
            members[into] = True
            worths.append((worth + float(gains[into]), members))
    worths.sort(key=lambda move: -move[0])
    return [members for _, members in worths if valuer.fits(members)]


def _ranked(program: Program, candidate: Candidate) -> RankedSet:
    names = tuple(name for name, kept in zip(program.experts, candidate.members, strict=True) if kept)
    return RankedSet(names, candidate.value)
