"""Proofs: twenty budgets to the optimum, and every set of every small pool tried by brute force."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.routing_data import read_pools
from bench.universe_data import expect, read_pool
from universe import Limits, marginal_values, trace_frontier, universe_program
from universe.model.program import Program
from universe.report.figures import draw_frontier, draw_marginal_values
from universe.solver.solve import solve_program

BRUTE_FORCE_EXPERTS = 15
ROUNDING = 1e-9  # of the budget


def print_frontier(recorded: Path, out: Path, console: Console) -> None:
    """Twenty query budgets on pools A, D and all mmlu_pro experts: proven optimal, and how fast."""
    table = Table(
        "pool", "limit", "proven optimal", "longest solve, s", "mean, s", "CPU, all, s", "widest gap",
        "score from, to", "experts from, to", title="Twenty query budgets",
    )  # fmt: skip
    for pool in ("A", "D", "mmlu_pro"):
        examples = read_pool(recorded, pool, out)
        expected = expect(examples, out)
        for label, limits in (("up to 5 experts", Limits(max_experts=5)), ("any number", Limits())):
            program = universe_program(examples.outcomes, expected=expected, limits=limits)
            cpu = time.process_time()
            traced = trace_frontier(program, "max_cost_usd", points=20, time_limit_s=30)
            cpu = time.process_time() - cpu
            universes = [u for u in traced.universes if u is not None]
            first, middle, last = universes[0], universes[len(universes) // 2], universes[-1]
            walls = [u.wall_s for u in universes]
            table.add_row(
                pool, label, f"{sum(u.status == 'optimal' for u in universes)} of {len(traced.limits)}",
                f"{max(walls):.2f}", f"{np.mean(walls):.2f}", f"{cpu:.1f}",
                f"{max(u.gap for u in universes):.1e}",
                f"{first.expected_score:.4f}, {last.expected_score:.4f}",
                f"{len(first.experts)}, {len(last.experts)}",
            )  # fmt: skip
            if limits.max_experts:
                draw_frontier(traced).savefig(out / f"frontier-{pool}.png")
                at = replace(program, limits=middle.limits)
                draw_marginal_values(marginal_values(at, middle.experts)).savefig(out / f"values-{pool}.png")
    console.print(table)


def print_brute_force(recorded: Path, out: Path, console: Console) -> None:
    """Every set of every pool of at most 15 experts, for every size, with and without a query budget."""
    table = Table(
        "pool", "experts", "sets", "programs", "equal", "largest difference", "s, brute force", "s, ours",
        title="The solver beside brute force",
    )  # fmt: skip
    for name, pool in read_pools(recorded).items():
        if len(pool.experts) > BRUTE_FORCE_EXPERTS:
            continue
        examples = read_pool(recorded, name, out)
        program = universe_program(examples.outcomes, expected=expect(examples, out))
        m = len(program.experts)
        differences, brute_s, ours_s = [], 0.0, 0.0
        for share in (None, 0.25, 0.5):
            budget = None if share is None else share * best_single_cost(program)
            if budget is not None and budget < float(program.weight @ program.cost_usd.min(axis=1)):
                continue
            began = time.perf_counter()
            truth = best_values_by_size(program, budget)
            brute_s += time.perf_counter() - began
            for k in range(1, m + 1):
                limits = Limits(max_experts=k, max_cost_usd=budget)
                began = time.perf_counter()
                solution = solve_program(replace(program, limits=limits))
                ours_s += time.perf_counter() - began
                assert solution.status == "optimal"
                assert solution.best is not None
                differences.append(abs(solution.best.value - truth[k - 1]))
        equal = sum(d <= 2e-5 for d in differences)
        table.add_row(
            name, str(m), str(2**m - 1), str(len(differences)), str(equal), f"{max(differences):.1e}",
            f"{brute_s:.1f}", f"{ours_s:.1f}",
        )  # fmt: skip
    console.print(table)


def best_single_cost(program: Program) -> float:
    """Mean cost of a query of the best single expert, in USD."""
    return float((program.weight @ program.cost_usd)[(program.weight @ program.score).argmax()])


def best_values_by_size(program: Program, budget_usd: float | None) -> list[float]:
    """[m] the best expected score of any set of at most k experts, k = 1 to m, by trying all sets.

    No line of it is shared with the solver.
    """
    m = len(program.experts)
    best = np.full(m, -np.inf)
    sets = [members for size in range(1, m + 1) for members in combinations(range(m), size)]
    for members in track(sets, description=f"all sets of {m}", transient=True):
        value = routed_value(program, list(members), budget_usd)
        best[len(members) - 1] = max(best[len(members) - 1], value)
    return [float(v) for v in np.maximum.accumulate(best)]


def routed_value(program: Program, members: list[int], budget_usd: float | None) -> float:
    """Mean expected score of a set routed at best within the budget; -inf if even the cheapest break it.

    Under a budget it is the minimum, over the price mu of the budget, of mu plus the priced mean.
    """
    score = np.ascontiguousarray(program.score[:, members].T)
    if budget_usd is None:
        return float(program.weight @ score.max(axis=0))
    cost = np.ascontiguousarray(program.cost_usd[:, members].T) / budget_usd
    if program.weight @ cost.min(axis=0) > 1 + ROUNDING:
        return -np.inf

    def line(mu: float) -> tuple[float, float]:
        """The priced mean at mu as a line in mu: height at 0 and slope."""
        pick = (score - mu * cost).argmax(axis=0)[None]
        taken = program.weight @ np.take_along_axis(cost, pick, 0)[0]
        return float(program.weight @ np.take_along_axis(score, pick, 0)[0]), 1 - float(taken)

    falling = line(0.0)
    if falling[1] >= -ROUNDING:
        return falling[0]
    low, high = 0.0, 1.0
    while (rising := line(high))[1] < -ROUNDING:  # a set that costs the budget to the cent never rises
        low, high, falling = high, 4 * high, rising
    for _ in range(20):
        middle = (low + high) / 2
        here = line(middle)
        low, high, falling, rising = (
            (middle, high, here, rising) if here[1] < -ROUNDING else (low, middle, falling, here)
        )
    # the minimum of a convex, piecewise linear function lies where its lines cross
    mu = (falling[0] - rising[0]) / (rising[1] - falling[1])
    return rising[0] + mu * rising[1]
