"""Scale: 200 experts x 100,000 questions to a proven gap of 1%; the textbook model; the integer masters."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.universe_data import generate_table, read_outcomes
from bench.universe_textbook import solve_textbook
from universe import Limits, universe_program
from universe.model.program import Program, build_program
from universe.solver.search import Progress
from universe.solver.solve import solve_program

QUESTIONS, EXPERTS, MAX_EXPERTS = 100_000, 200, 8
SOLVERS = ("highs", "gscip")
TEXTBOOK_SIZES = ((200, 50), (500, 100), (2_000, 200))


def generate_program(recorded: Path, questions: int, experts: int, *, query_budget: bool = False) -> Program:
    """At most eight experts, of a table with the structure of mmlu_pro; budget: the median expert's price."""
    score, cost, domains = generate_table(
        read_outcomes(recorded, "mmlu_pro"), questions=questions, experts=experts
    )
    budget = float(np.quantile(cost, 0.5)) if query_budget else None
    limits = Limits(max_experts=MAX_EXPERTS, max_cost_usd=budget)
    return build_program([f"e{j}" for j in range(experts)], score, cost, domains=domains, limits=limits)


def print_scale(recorded: Path, out: Path, console: Console) -> None:
    """200 experts x 100,000 questions, with and without a query budget."""
    table = Table(
        "limits", "s to 1%", "s in all", "CPU, s", "proven gap", "value", "status", "peak GiB",
        title=f"{EXPERTS} experts x {QUESTIONS:,} questions",
    )  # fmt: skip
    for label, query_budget in (("8 experts", False), ("8 experts, query budget", True)):
        program = generate_program(recorded, QUESTIONS, EXPERTS, query_budget=query_budget)
        within: list[float] = []

        def note(progress: Progress, within: list[float] = within) -> None:
            if progress.bound - progress.value <= 0.01 * progress.value:
                within.append(progress.wall_s)

        cpu = time.process_time()
        solution = solve_program(program, gap=1e-3, time_limit_s=300, on_progress=note)
        assert solution.best is not None
        gap = (solution.bound - solution.best.value) / solution.best.value
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        table.add_row(
            label, f"{within[0]:.0f}" if within else "not reached", f"{solution.wall_s:.0f}",
            f"{time.process_time() - cpu:.0f}", f"{gap:.3%}", f"{solution.best.value:.4f}", solution.status,
            f"{peak:.2f}",
        )  # fmt: skip
        del program
    console.print(table)


def print_textbook(recorded: Path, out: Path, console: Console, time_limit_s: float = 40.0) -> None:
    """The plain model in the same solvers to 1%, as a multiple of our time to the same gap."""
    table = Table("questions x experts", "ours, s", *(f"textbook, {solver}" for solver in SOLVERS),
                  title=f"The textbook model, at most {time_limit_s:.0f} s each")  # fmt: skip
    for questions, experts in TEXTBOOK_SIZES:
        program = generate_program(recorded, questions, experts)
        began = time.perf_counter()
        solve_program(program, gap=0.005)
        ours = time.perf_counter() - began
        cells = []
        for solver in SOLVERS:
            found = solve_textbook(program, solver=solver, gap=0.01, time_limit_s=time_limit_s)
            seconds = found.build_s + found.solve_s
            solved = found.bound - found.value <= 0.01 * found.value
            left = "no bound" if not np.isfinite(found.bound) else f"gap {found.bound - found.value:.2g}"
            cells.append(
                f"{seconds:.1f} s: {seconds / ours:.0f} times"
                if solved
                else f"{left} after {seconds:.0f} s: over {seconds / ours:.0f} times"
            )
        table.add_row(f"{questions:,} x {experts}", f"{ours:.2f}", *cells)
    console.print(table)


def print_masters(recorded: Path, out: Path, console: Console) -> None:
    """The integer master's solvers on raw outcomes, where the relaxation is loose."""
    table = Table("pool", "experts", *SOLVERS, title="The integer master on raw outcomes, at most 30 s")
    for pool, k in (("A", 3), ("A", 5), ("mmlu_pro", 3), ("mmlu_pro", 5)):
        program = universe_program(read_outcomes(recorded, pool), limits=Limits(max_experts=k))
        cells = []
        for solver in SOLVERS:
            solution = solve_program(program, solver=solver, time_limit_s=30)
            assert solution.best is not None
            gap = solution.bound - solution.best.value
            cells.append(
                f"{solution.status}, {solution.wall_s:.1f} s, gap {gap:.1e}, {solution.rounds} rounds"
            )
        table.add_row(pool, str(k), *cells)
    console.print(table)
