"""The solver against enumeration, and its behaviour at the edges."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.universe.enumeration import best_value
from universe.model.limits import Hosting, Limits, NodeType
from universe.model.program import Program, build_program, drop_dominated
from universe.model.risk import Risk
from universe.solver.heuristics import SetValuer, grow_greedily
from universe.solver.master import linear_rows
from universe.solver.routing import Scenario, ScenarioRouter
from universe.solver.solve import solve_program
from warehouse import InfeasibleError, InputError


def random_program(seed: int, m: int, n: int, *, raw: bool, limits: dict[str, object]) -> Program:
    rng = np.random.default_rng(seed)
    skill, kind = rng.uniform(0.2, 0.8, m), rng.integers(0, 3, n)
    score = np.clip(skill + rng.normal(0, 0.2, (3, m))[kind] + rng.normal(0, 0.1, (n, m)), 0, 1)
    if raw:
        score = (rng.random((n, m)) < score).astype(float)
    cost = np.exp(rng.normal(0, 1, m)) * rng.uniform(0.5, 1.5, (n, m))
    hosting = {
        f"e{j}": Hosting(
            usd_per_hour=float(rng.uniform(0.5, 3)),
            gpus=float(rng.integers(1, 3)),
            gpu_memory_gib=float(rng.integers(10, 60)),
            node_type="a" if j % 2 else "b",
            queries_per_s=float(rng.uniform(1, 6)),
        )
        for j in range(m)
    }
    return build_program(
        [f"e{j}" for j in range(m)],
        score,
        cost,
        domains=np.array(["x", "y", "z"])[kind],
        hosting=hosting,
        limits=Limits(**limits),  # type: ignore[arg-type]
        price_weight=float(rng.choice([0, 0.02])),
    )


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_experts": st.integers(1, 4),
        "max_cost_usd": st.floats(1.0, 2.5),
        "max_usd_per_hour": st.floats(2, 8),
        "nodes": st.sampled_from(
            [
                {"a": NodeType(gpus=3), "b": NodeType(gpu_memory_gib=70)},
                {"a": NodeType(gpus=2, gpu_memory_gib=60, count=2), "b": NodeType(gpus=2, count=3)},
            ]
        ),
        "must_have": st.just(("e0",)),
        "must_not": st.just(("e1",)),
        "exclusive": st.just((("e2", "e3"),)),
        "min_score": st.fixed_dictionaries({"x": st.floats(0.3, 0.7)}),
        "queries_per_s": st.floats(2, 8),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), raw=st.booleans(), limits=LIMITS)
def test_solver_matches_enumeration_under_every_limit(
    seed: int, raw: bool, limits: dict[str, object]
) -> None:
    try:
        program = random_program(seed, 5, 24, raw=raw, limits=limits)
    except (
        InputError,
        InfeasibleError,
    ):  # a budget below the cheapest experts; refusals have tests of their own
        return
    truth = best_value(program)
    solution = solve_program(program, gap=1e-6)
    if truth == -np.inf:
        assert solution.status == "infeasible"
        return
    assert solution.status == "optimal"
    assert solution.best is not None
    assert solution.best.value == pytest.approx(truth, abs=2e-4 if limits.keys() & {"min_score"} else 5e-5)
    assert solution.bound >= truth - 1e-5


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("m", [8, 12, 15])
def test_solver_matches_brute_force_on_sets_by_size(m: int, raw: bool) -> None:
    program = random_program(m, m, 300, raw=raw, limits={"max_experts": 4})
    truth = max(
        float(program.weight @ (program.score - program.price_weight * program.cost_usd)[:, s].max(axis=1))
        for s in combinations(range(m), 4)
    )
    solution = solve_program(program, gap=1e-7)
    assert solution.status == "optimal"
    assert solution.best is not None
    assert solution.best.value == pytest.approx(truth, abs=1e-6)


def test_large_tables_are_relaxed_on_a_sample_first(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"max_experts": 2, "max_cost_usd": 1.2, "min_score": {"x": 0.4}}
    program = random_program(2, 6, 200, raw=False, limits=limits)
    monkeypatch.setattr("universe.solver.search.PILOT_QUESTIONS", 40)
    stages = []
    solution = solve_program(program, on_progress=lambda progress: stages.append(progress.stage))
    assert stages[0] == "sample"
    assert solution.status == "optimal"
    assert solution.best is not None
    assert solution.best.value == pytest.approx(best_value(program), abs=2e-5)


def test_dropping_dominated_experts_keeps_the_optimum() -> None:
    program = random_program(3, 6, 60, raw=False, limits={"max_experts": 2})
    score = np.hstack([program.score, program.score[:, :2] * 0.9])
    cost = np.hstack([program.cost_usd, program.cost_usd[:, :2] * 1.1])
    wider = build_program([f"e{j}" for j in range(8)], score, cost, limits=Limits(max_experts=2))
    small, dominated = drop_dominated(wider)
    assert {"e6", "e7"} <= set(dominated)
    assert solve_program(small).best.value == pytest.approx(best_value(wider), abs=1e-5)  # type: ignore[union-attr]


def test_identical_rows_are_merged_with_their_weight() -> None:
    score = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], dtype=float)
    program = build_program(["a", "b"], score, np.ones(2), limits=Limits(max_experts=1))
    assert len(program.weight) == 2
    assert solve_program(program).best.value == pytest.approx(0.75)  # type: ignore[union-attr]


def test_greedy_can_be_wrong_and_the_solver_is_not() -> None:
    """The classic trap: the best single expert is in no best pair."""
    left, right, middle = np.zeros(12), np.zeros(12), np.zeros(12)
    left[:6], right[6:], middle[2:10] = 1, 1, 1
    program = build_program(["left", "right", "middle"], np.stack([left, right, middle], 1), np.ones(3),
                            limits=Limits(max_experts=2))  # fmt: skip
    router = ScenarioRouter(program, Scenario(program.weight, np.ones(3)))
    valuer = SetValuer(program, [router], linear_rows(program), Risk())
    greedy = valuer.evaluate(grow_greedily(valuer, [np.zeros(0)]))
    assert greedy is not None
    assert greedy.value == pytest.approx(10 / 12)
    assert solve_program(program).best.value == pytest.approx(1.0)  # type: ignore[union-attr]


def test_a_replica_lies_whole_on_one_node() -> None:
    """Two nodes of 3 GPUs have room for 6, but not for three replicas of 2."""
    hosting = {name: Hosting(gpus=2, node_type="a") for name in "xyz"}
    sums_only, on_nodes = (
        build_program(list("xyz"), np.eye(3), np.ones(3), hosting=hosting, limits=Limits(nodes={"a": node}))
        for node in (NodeType(gpus=6), NodeType(gpus=3, count=2))
    )
    assert solve_program(sums_only).best.value == pytest.approx(1.0)  # type: ignore[union-attr]
    assert solve_program(on_nodes).best.value == pytest.approx(2 / 3)  # type: ignore[union-attr]


def test_a_placement_that_first_fit_misses_is_found() -> None:
    """Twice 4 + 3 + 3 fills two nodes of 10; first fit puts 4 + 4 on one of them and leaves a 3 out."""
    gpus = dict.fromkeys("ab", 4.0) | dict.fromkeys("cdef", 3.0)
    hosting = {name: Hosting(gpus=need, node_type="n") for name, need in gpus.items()}
    limits = Limits(nodes={"n": NodeType(gpus=10, count=2)})
    program = build_program(list(gpus), np.eye(6), np.ones(6), hosting=hosting, limits=limits)
    assert solve_program(program).best.value == pytest.approx(1.0)  # type: ignore[union-attr]


def hard_program() -> Program:
    rng = np.random.default_rng(0)
    score = (rng.random((3000, 50)) < 0.2).astype(float)
    return build_program([f"e{j}" for j in range(50)], score, np.ones(50), limits=Limits(max_experts=10))


def test_the_time_limit_gives_the_best_so_far_with_an_honest_gap() -> None:
    solution = solve_program(hard_program(), time_limit_s=1.5)
    assert solution.status == "time limit"
    assert solution.best is not None
    assert solution.bound > solution.best.value


@pytest.mark.parametrize(
    "pressed_after_s", [0.5, 4.0]
)  # in the relaxation; while the integer master is solved
def test_ctrl_c_keeps_the_best_so_far(pressed_after_s: float) -> None:
    program = hard_program()
    timer = threading.Timer(pressed_after_s, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.perf_counter()
    solution = solve_program(program, time_limit_s=60)
    assert solution.status == "interrupted"
    assert time.perf_counter() - began < pressed_after_s + 10
    assert solution.best is not None
