"""The sets near the best one: valued as the solver values them, within the limits, and kept whole."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from universe.analysis.alternatives import keep_set, nearest_sets
from universe.model.limits import Limits
from universe.model.program import Program, build_program
from universe.solver.select import describe
from universe.solver.solve import solve_program
from warehouse import InfeasibleError


def generated(seed: int, m: int, size: int, budget: float | None) -> Program:
    rng = np.random.default_rng(seed)
    names = [f"e{j}" for j in range(m)]
    cost = rng.uniform(0.1, 1.0, m)
    cost_usd = None if budget is None else float(np.quantile(cost, budget))
    limits = Limits(max_experts=size, max_cost_usd=cost_usd)
    return build_program(names, rng.random((30, m)), cost, limits=limits)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    m=st.integers(3, 6),
    size=st.integers(1, 3),
    budget=st.one_of(st.none(), st.floats(0.3, 0.9)),
)
def test_near_sets_hold_the_limits_and_are_valued_as_the_solver_does(
    seed: int, m: int, size: int, budget: float | None
) -> None:
    program = generated(seed, m, size, budget)
    best = solve_program(program).best
    assert best is not None
    names = [program.experts[j] for j in np.flatnonzero(best.members)]
    near = nearest_sets(program, names, 5)
    assert near[0].experts == tuple(names)
    assert near[0].value == pytest.approx(best.value, abs=2e-5)
    values = [one.value for one in near[1:]]
    assert values == sorted(values, reverse=True)
    assert all(value <= best.value + 2e-5 for value in values)
    assert len({frozenset(one.experts) for one in near}) == len(near)
    for one in near:
        assert 1 <= len(one.experts) <= size
        alone = build_program(
            program.experts, program.score, program.cost_usd, weight=program.weight,
            limits=Limits(max_cost_usd=program.limits.max_cost_usd, must_have=one.experts,
                          must_not=tuple(set(program.experts) - set(one.experts))),
        )  # fmt: skip
        solved = solve_program(alone).best
        assert solved is not None
        assert one.value == pytest.approx(solved.value, abs=2e-5)


def test_without_a_budget_the_second_set_is_the_second_best_of_all() -> None:
    for seed in range(10):
        program = generated(seed, 6, 2, None)
        pairs = sorted(
            (float(program.weight @ program.score[:, list(pair)].max(axis=1)), pair)
            for pair in combinations(range(6), 2)
        )[::-1]
        names = [program.experts[j] for j in pairs[0][1]]
        assert nearest_sets(program, names, 4)[1].value == pytest.approx(pairs[1][0])


def test_another_set_is_kept_whole_under_the_same_bound() -> None:
    program = generated(3, 5, 3, None)
    solution = solve_program(program)
    best = describe(program, program, {}, solution)
    other = nearest_sets(program, best.experts, 3)[2]
    kept = keep_set(program, other.experts, best)
    assert set(kept.experts) == set(other.experts)
    assert kept.objective == pytest.approx(other.value)
    assert kept.bound == best.bound
    assert kept.limits == program.limits
    assert set(kept.left_out) == set(program.experts) - set(other.experts)


def test_a_set_that_breaks_a_limit_is_refused() -> None:
    program = generated(0, 5, 2, None)
    for call in (nearest_sets, lambda p, e, _: keep_set(p, e, describe(p, p, {}, solve_program(p)))):
        with pytest.raises(InfeasibleError, match="do not hold all the limits"):
            call(program, program.experts, 3)
