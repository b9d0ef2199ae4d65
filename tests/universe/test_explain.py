"""What a universe tells: marginal values, binding limits, conflicts, frontier, candidates, robustness."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from tests.universe.enumeration import best_value
from tests.universe.test_select import table, truth
from tests.universe.test_solve import random_program
from universe.analysis.candidate import value_candidate
from universe.analysis.explain import binding_limits, marginal_values
from universe.analysis.frontier import default_budgets, trace_frontier
from universe.analysis.held_out import route_held_out
from universe.analysis.robust import select_robust, uncertain_world
from universe.model.limits import Hosting, Limits, NodeType
from universe.model.prices import Prices
from universe.model.program import build_program, near_identical
from universe.model.risk import Risk
from universe.solver.heuristics import Candidate
from universe.solver.limit_tests import conflicting_limits
from universe.solver.routing import Scenario, ScenarioRouter
from universe.solver.sampling import solve_by_sampling
from universe.solver.select import select_universe, universe_program
from universe.solver.solve import solve_program
from warehouse import InfeasibleError, InputError, NotReadyError


def test_marginal_values_are_what_sets_lose_and_gain() -> None:
    outcomes = table()
    program = universe_program(outcomes, expected=truth(outcomes))
    values = {v.expert: v for v in marginal_values(program, ["dear", "maths"])}
    assert values["dear"].kept
    assert values["dear"].value == pytest.approx((0.9 - 0.1) / 2)
    assert values["maths"].value == pytest.approx((0.9 - 0.8) / 2)
    assert values["middle"].value == pytest.approx(0.0, abs=1e-9)


def test_only_limits_that_cost_score_bind() -> None:
    outcomes = table()
    limits = Limits(max_experts=1, max_cost_usd=5.0, must_not=("dear",))
    program = universe_program(outcomes, expected=truth(outcomes), limits=limits)
    value = solve_program(program).best.value  # type: ignore[union-attr]
    found = {b.name: b.worth for b in binding_limits(program, value)}
    assert set(found) == {"max_experts 1", "must_not dear"}
    assert found["must_not dear"] == pytest.approx(0.85 - value, abs=1e-5)


@pytest.mark.parametrize(
    ("limits", "conflict"),
    [
        (
            Limits(max_experts=1, must_have=("cheap", "dear"), min_score={"law": 0.3}, max_cost_usd=9.0),
            {"max_experts 1", "must_have cheap", "must_have dear"},
        ),
        (
            Limits(max_cost_usd=0.2, min_score={"law": 0.9, "maths": 0.1}, max_experts=3),
            {"max_cost_usd 0.2 ($ 200 per 1,000 queries)", "min_score law 0.9"},
        ),
        (
            Limits(must_have=("cheap", "middle"), exclusive=(("cheap", "middle"),), max_experts=3),
            {"must_have cheap", "must_have middle", "at most one of cheap, middle"},
        ),
        (Limits(min_score={"law": 0.95}, max_experts=2), {"min_score law 0.95"}),
    ],
)
def test_the_conflict_named_is_smallest(limits: Limits, conflict: set[str]) -> None:
    outcomes = table()
    program = universe_program(outcomes, expected=truth(outcomes), limits=limits)
    assert set(conflicting_limits(program)) == conflict
    with pytest.raises(InfeasibleError) as error:
        select_universe(outcomes, expected=truth(outcomes), limits=limits)
    assert all(name in str(error.value) for name in conflict)


def test_gpus_of_a_node_type_can_be_the_conflict() -> None:
    program = random_program(1, 4, 20, raw=False, limits={"must_have": ("e1", "e3"), "max_experts": 3})
    tight = replace(program, limits=replace(program.limits, nodes={"a": NodeType(gpus=1)}))
    names = conflicting_limits(tight)
    assert "gpus of node type a" in names
    assert "max_experts 3" not in names


def test_the_frontier_rises_and_its_shadow_price_is_its_slope() -> None:
    outcomes = table()
    program = universe_program(outcomes, expected=truth(outcomes), limits=Limits(max_experts=2))
    frontier = trace_frontier(program, "max_cost_usd", points=12)
    scores = [u.expected_score for u in frontier.universes if u is not None]
    assert len(scores) == 12
    assert all(b >= a - 1e-6 for a, b in pairwise(scores))
    for budget, universe in zip(frontier.limits, frontier.universes, strict=True):
        assert universe is not None
        assert universe.expected_cost_usd <= budget * (1 + 1e-6)
    assert default_budgets(program, "max_experts") == [1.0, 2.0, 3.0, 4.0]


def test_a_candidate_breaks_even_where_its_price_eats_its_gain() -> None:
    """maths adds 0.05 of score over dear alone and saves query cost: solved by hand below."""
    outcomes = table()
    program = universe_program(outcomes, expected=truth(outcomes), price_weight=0.1)
    value = value_candidate(program, "maths")
    # Without it: dear on law (0.9 - 0.1 * 1.0), and on maths too (0.8 - 0.1).
    assert value.value_without == pytest.approx((0.8 + 0.7) / 2)
    assert value.value_with == pytest.approx((0.8 + 0.9 - 0.02) / 2)
    assert value.chosen
    # On maths questions it must beat 0.7: price at most (0.9 - 0.7) / 0.1.
    assert value.break_even_usd == pytest.approx(2.0, rel=5e-3)
    assert value_candidate(replace(program, price_weight=0.0), "maths").break_even_usd == math.inf
    assert value_candidate(program, "cheap").break_even_usd == 0.0
    with pytest.raises(NotReadyError, match="nobody"):
        value_candidate(program, "nobody")


@pytest.mark.parametrize("risk", [Risk(1.0), Risk(0.5, 0.5)])
def test_the_robust_set_is_the_best_over_all_sets(risk: Risk) -> None:
    program = random_program(5, 6, 60, raw=False, limits={"max_experts": 2})
    program = replace(program, price_weight=0.05)
    worlds = uncertain_world(program, price_spread=1.0, traffic_spread=0.5, scenarios=5, seed=3)

    def value(members: tuple[int, ...]) -> float:
        chosen = np.isin(np.arange(6), members)
        return risk.of(
            np.array([ScenarioRouter(program, w).evaluate(chosen, 1.0 * chosen).value for w in worlds])
        )

    best = max(value(s) for k in (1, 2) for s in combinations(range(6), k))
    choice = select_robust(program, worlds, risk=risk)
    assert risk.of(choice.robust_values) == pytest.approx(best, abs=2e-5)
    assert choice.premium >= -1e-5
    if risk.weight == 1:
        assert choice.saving >= -1e-5


def test_sampling_bounds_the_optimum() -> None:
    program = random_program(9, 8, 4000, raw=False, limits={"max_experts": 3})
    optimum = solve_program(program).best.value  # type: ignore[union-attr]
    sampled = solve_by_sampling(program, questions=800, samples=5)
    assert sampled.best.value <= optimum + 1e-6
    assert sampled.best.value >= optimum - 0.01
    low, high = sampled.bound_interval
    assert low - 0.01 <= optimum <= high + 0.01


def test_held_out_routing_counts_only_answered_questions() -> None:
    outcomes = table(400)
    outcomes.score[0, 3] = np.nan
    value = route_held_out(outcomes, truth(outcomes), ["dear", "maths"])
    assert value.unanswered == 1
    assert value.score == pytest.approx(0.9, abs=0.05)
    assert value.interval[0] < value.score < value.interval[1]
    assert (
        route_held_out(outcomes, truth(outcomes), ["dear", "cheap"], prices=Prices(usd=1e3)).cost_usd == 0.1
    )


def test_near_identical_experts_are_grouped() -> None:
    rng = np.random.default_rng(0)
    score = (rng.random((200, 4)) < 0.5).astype(float)
    score[:, 2] = score[:, 0]
    score[:2, 2] = np.nan
    assert near_identical(["a", "b", "c", "d"], score) == (("a", "c"),)
    score[1:, 0] = np.nan  # one question in common says nothing
    assert near_identical(["a", "b", "c", "d"], score) == ()


def reached_in(router: ScenarioRouter, best: Candidate | None, domain: str) -> float:
    """Mean expected score of a domain, routed at the set's prices."""
    assert best is not None
    program = router.program
    prices = router.prices(best.routed[0].multiplier)
    columns = np.flatnonzero(best.members)
    names = np.array(program.domains)[program.domain]
    experts = [program.experts[j] for j in columns]
    score = program.score[:, columns]
    chosen = prices.choose(experts, names, score, program.cost_usd[:, columns])
    here = names == domain
    picked = np.take_along_axis(score, chosen[:, None], 1)[here, 0]
    return float(np.average(picked, weights=program.weight[here]))


def test_min_score_holds_where_it_binds() -> None:
    program = random_program(2, 5, 90, raw=False, limits={"max_cost_usd": 1.2})
    free = solve_program(program)
    router = ScenarioRouter(program, Scenario(program.weight, np.ones(5)))
    reached = reached_in(router, free.best, "x")
    floor = replace(program, limits=replace(program.limits, min_score={"x": reached + 0.004}))
    solution = solve_program(floor)
    assert solution.best is not None
    assert solution.best.value <= free.best.value + 1e-6  # type: ignore[union-attr]
    assert solution.best.value == pytest.approx(best_value(floor), abs=2e-4)
    raised = ScenarioRouter(floor, Scenario(floor.weight, np.ones(5)))
    assert raised.prices(solution.best.routed[0].multiplier).domain["x"] > 1
    # One question may lie on the edge: prices send it whole to one side, the program splits it.
    assert reached_in(raised, solution.best, "x") >= reached + 0.004 - 2 / 30


def test_held_out_questions_are_routed_as_the_floors_and_loads_say() -> None:
    outcomes = table(400)
    both = ["dear", "cheap"]
    free = route_held_out(outcomes, truth(outcomes), both, prices=Prices(usd=1e3))
    law = route_held_out(outcomes, truth(outcomes), both, prices=Prices(usd=1e3, domain={"law": 1e5}))
    loaded = route_held_out(outcomes, truth(outcomes), both, prices=Prices(load={"dear": 1.0, "cheap": 0.0}))
    assert (free.cost_usd, loaded.cost_usd) == (0.1, 0.1)
    assert law.cost_usd == pytest.approx(0.5 * 0.1 + 0.5 * 1.0)


def test_weights_shift_the_choice() -> None:
    score = np.array([[1.0, 0.0], [0.0, 1.0]])
    program = build_program(
        ["a", "b"], score, np.ones(2), weight=np.array([1.0, 3.0]), limits=Limits(max_experts=1)
    )
    assert solve_program(program).best.value == pytest.approx(0.75)  # type: ignore[union-attr]


def test_a_free_candidate_has_the_price_at_which_a_dear_one_breaks_even() -> None:
    outcomes = table()
    dear = universe_program(outcomes, expected=truth(outcomes), price_weight=0.2)
    j = dear.experts.index("dear")
    cost = dear.cost_usd.copy()
    cost[:, j] = 0
    free = value_candidate(replace(dear, cost_usd=cost), "dear")
    assert free.price_usd == 0
    assert free.break_even_usd == pytest.approx(value_candidate(dear, "dear").break_even_usd, rel=5e-3)


@pytest.mark.parametrize(("kind", "field"), [(NodeType, "count"), (Hosting, "min_replicas")])
def test_counts_are_whole(kind: type, field: str) -> None:
    assert isinstance(getattr(kind(**{field: 2.0}), field), int)
    for wrong in (1.5, 0, math.nan):
        with pytest.raises(InputError, match=field):
            kind(**{field: wrong})
