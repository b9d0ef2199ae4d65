"""The solver against brute force on every recorded pool of at most 15 experts, and on tables made alike.

The recorded answers are not part of the repository: LEEROO_RECORDED names their folder.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.routing_data import load_pool, read_pools
from bench.universe_data import generate_table
from bench.universe_proof import BRUTE_FORCE_EXPERTS, best_single_cost, best_values_by_size
from tests.universe.test_select import table
from universe.model.limits import Limits
from universe.model.program import Program, build_program
from universe.solver.select import universe_program
from universe.solver.solve import solve_program
from warehouse import Outcomes

RECORDED = Path(os.environ.get("LEEROO_RECORDED", "recorded"))
POOLS = read_pools(RECORDED) if (RECORDED / "pools.yaml").is_file() else {}
SMALL = [name for name, pool in POOLS.items() if len(pool.experts) <= BRUTE_FORCE_EXPERTS]


def check_every_size(program: Program, budget_usd: float | None) -> None:
    truth = best_values_by_size(program, budget_usd)
    for k, best in enumerate(truth, start=1):
        if best == -np.inf:
            continue
        limits = Limits(max_experts=k, max_cost_usd=budget_usd)
        solution = solve_program(replace(program, limits=limits))
        assert solution.status == "optimal"
        assert solution.best is not None
        assert solution.best.value == pytest.approx(best, abs=2e-5)
        assert solution.bound >= best - 2e-5


def subject_table(outcomes: Outcomes) -> Program:
    """Expected success by subject, the simplest predictor there is; complete and quick to make."""
    _, subject = np.unique(outcomes.subjects, return_inverse=True)
    known = np.isfinite(outcomes.score)
    right = np.where(known, outcomes.score, 0)
    sums, counts = (np.stack([np.bincount(subject, c) for c in cells.T], 1) for cells in (right, known * 1.0))
    score = ((sums + 1) / (counts + 2))[subject]
    return build_program(outcomes.experts, score, np.nanmean(outcomes.cost_usd, axis=0))


@pytest.mark.skipif(not SMALL, reason="the recorded answers are not here (LEEROO_RECORDED)")
@pytest.mark.parametrize("share", [None, 0.4])
@pytest.mark.parametrize("pool", SMALL)
def test_brute_force_on_recorded_pools(pool: str, share: float | None) -> None:
    outcomes = load_pool(RECORDED, POOLS[pool])
    by_subject = subject_table(outcomes)
    check_every_size(by_subject, share and share * best_single_cost(by_subject))
    if share is None:
        check_every_size(universe_program(outcomes), None)  # raw outcomes


@pytest.mark.parametrize("share", [None, 0.4])
@pytest.mark.parametrize("m", [4, 6, 9, 12])
def test_brute_force_on_tables_of_the_same_structure(m: int, share: float | None) -> None:
    score, cost, domains = generate_table(table(600, seed=m), questions=250, experts=m, rank=3, seed=m)
    program = build_program([f"e{j}" for j in range(m)], score, cost, domains=domains)
    check_every_size(program, share and max(share * best_single_cost(program), 1.01 * float(cost.min())))
