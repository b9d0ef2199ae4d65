"""Beside greedy, the most accurate and random sets at equal budgets; and where greedy is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.universe_data import SEEDS, expect, hold_out, paired_interval, read_pool, show_interval
from bench.universe_proof import best_single_cost
from universe import Expected, Limits, route_held_out, universe_program
from universe.analysis.frontier import default_budgets
from universe.model.program import Program
from universe.model.risk import Risk
from universe.solver.heuristics import SetValuer
from universe.solver.master import linear_rows
from universe.solver.routing import Scenario, ScenarioRouter
from universe.solver.solve import solve_program
from warehouse import Outcomes

Members = NDArray[np.bool_]
RANDOM_SETS = 5


def print_baselines(recorded: Path, out: Path, console: Console) -> None:
    """Held-out routed accuracy of the optimum, and its gain over three ways of choosing, with intervals."""
    table = Table(
        "pool", "experts", "budget", "optimum", "gain over greedy", "over top-k", "over random",
        title="Held-out routed accuracy (%), gains in points (budget: share of the best single's price)",
    )  # fmt: skip
    for pool in ("A", "D"):
        examples = read_pool(recorded, pool, out)
        splits = [hold_out(examples, out, seed) for seed in range(SEEDS)]
        for k in (2, 3):
            for share in (0.25, 0.5, None):
                ours: list[NDArray[np.float64]] = []
                gains: dict[str, list[NDArray[np.float64]]] = {"greedy": [], "top-k": [], "random": []}
                for seed, split in enumerate(splits):
                    program = universe_program(
                        split.train, expected=split.expected_train, limits=Limits(max_experts=k)
                    )
                    budget = None if share is None else share * best_single_cost(program)
                    program = replace(program, limits=replace(program.limits, max_cost_usd=budget))
                    valuer = plain_valuer(program)
                    solution = solve_program(program, time_limit_s=30)
                    assert solution.best is not None
                    rng = np.random.default_rng(seed)
                    sets = {
                        "greedy": [choose_greedily(program, valuer)],
                        "top-k": [choose_most_accurate(program, valuer, k)],
                        "random": [choose_at_random(program, valuer, k, rng) for _ in range(RANDOM_SETS)],
                    }
                    ours.append(
                        held_out_scores(valuer, solution.best.members, split.test, split.expected_test)
                    )
                    for name, chosen in sets.items():
                        theirs = [
                            held_out_scores(valuer, members, split.test, split.expected_test)
                            for members in chosen
                            if members is not None
                        ]
                        if theirs:
                            gains[name].append(ours[-1] - np.mean(theirs, axis=0))
                reached = np.mean([np.nanmean(scores) for scores in ours])
                table.add_row(
                    pool, str(k), "none" if share is None else f"{share:.0%}", f"{100 * reached:.2f}",
                    *(show_interval(paired_interval(g)) if g else "none fits" for g in gains.values()),
                )  # fmt: skip
    console.print(table)


def print_greedy_traps(recorded: Path, out: Path, console: Console, show: int = 10) -> None:
    """Where plain greedy is wrong: sizes and budgets of pools A and D."""
    cases, programs = [], 0
    for pool in ("A", "D"):
        examples = read_pool(recorded, pool, out)
        for k in (2, 3, 4):
            base = universe_program(
                examples.outcomes, expected=expect(examples, out), limits=Limits(max_experts=k)
            )
            names = np.array(base.experts)
            for budget in [None, *default_budgets(base, "max_cost_usd", 12)]:
                program = replace(base, limits=replace(base.limits, max_cost_usd=budget))
                valuer = plain_valuer(program)
                best = solve_program(program, time_limit_s=30).best
                assert best is not None
                members = choose_greedily(program, valuer)
                greedy = valuer.evaluate(members) if members is not None else None
                programs += 1
                lost = best.value - (greedy.value if greedy else 0.0)
                if lost > 1e-4:
                    found = () if members is None else names[members]
                    cases.append((lost, pool, k, budget, ", ".join(found), ", ".join(names[best.members])))
    table = Table(
        "lost", "pool", "experts", "USD per 1,000", "greedy", "optimum",
        title=f"Greedy loses more than .0001 in {len(cases)} of {programs} programs; the worst:",
    )  # fmt: skip
    for lost, pool, k, budget, greedy_set, best_set in sorted(cases, key=lambda case: -case[0])[:show]:
        price = "no budget" if budget is None else f"{1000 * budget:.3g}"
        table.add_row(f"{lost:.4f}", pool, str(k), price, greedy_set, best_set)
    console.print(table)


def plain_valuer(program: Program) -> SetValuer:
    """Values sets under the program's own prices and traffic."""
    router = ScenarioRouter(program, Scenario(program.weight, np.ones(len(program.experts))))
    return SetValuer(program, [router], linear_rows(program), Risk())


def choose_greedily(program: Program, valuer: SetValuer) -> Members | None:
    """Greedy as papers have it: add the expert that raises the value within the budget most."""
    members = np.zeros(len(program.experts), dtype=bool)
    value = -np.inf
    while members.sum() < (program.limits.max_experts or len(members)):
        options = []
        for j in np.flatnonzero(~members):
            members[j] = True
            found = valuer.evaluate(members)
            members[j] = False
            if found is not None:
                options.append((found.value, int(j)))
        if not options or max(options)[0] <= value:
            break
        value, chosen = max(options)
        members[chosen] = True
    return members if members.any() else None


def choose_most_accurate(program: Program, valuer: SetValuer, k: int) -> Members | None:
    """The k most accurate experts with which the budget can be held."""
    order = np.argsort(-(program.weight @ program.score))
    members = np.zeros(len(order), dtype=bool)
    members[order[:k]] = True
    if valuer.evaluate(members) is not None:
        return members
    members[order[k - 1]] = False  # the cheapest expert makes any budget feasible
    members[int((program.weight @ program.cost_usd).argmin())] = True
    return members if valuer.evaluate(members) is not None else None


def choose_at_random(program: Program, valuer: SetValuer, k: int, rng: np.random.Generator) -> Members | None:
    """k experts drawn at random until the budget can be held."""
    for _ in range(200):
        members = np.zeros(len(program.experts), dtype=bool)
        members[rng.choice(len(members), k, replace=False)] = True
        if valuer.evaluate(members) is not None:
            return members
    return None


def held_out_scores(
    valuer: SetValuer, members: Members, test: Outcomes, expected: Expected
) -> NDArray[np.float64]:
    """[test questions] outcomes of a set, routed at the prices that hold the limits on train."""
    found = valuer.evaluate(members)
    assert found is not None
    prices = valuer.routers[0].prices(found.routed[0].multiplier)
    names = [n for n, kept in zip(valuer.program.experts, members, strict=True) if kept]
    return route_held_out(test, expected, names, prices=prices, draws=2).per_question
