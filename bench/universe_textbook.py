"""The plain textbook model of the same program: one variable for every question and expert."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from ortools.math_opt.python import mathopt

from universe.model.program import Program


@dataclass(frozen=True)
class TextbookResult:
    build_s: float
    solve_s: float
    value: float
    bound: float
    status: str


def solve_textbook(program: Program, *, solver: str, gap: float, time_limit_s: float) -> TextbookResult:
    """max sum w u x, sum_j x_ij = 1, x_ij <= y_j, sum_j y_j <= max_experts, in MathOpt."""
    began = time.perf_counter()
    model = mathopt.Model()
    n, m = program.score.shape
    y = [model.add_binary_variable() for _ in range(m)]
    model.add_linear_constraint(mathopt.fast_sum(y) <= program.limits.max_experts)
    worth = program.weight[:, None] * (program.score - program.price_weight * program.cost_usd)
    terms = []
    for i in range(n):
        row = [model.add_variable(lb=0, ub=1) for _ in range(m)]
        model.add_linear_constraint(mathopt.fast_sum(row) == 1)
        for j in range(m):
            model.add_linear_constraint(row[j] - y[j] <= 0)
        terms += [float(worth[i, j]) * row[j] for j in range(m)]
        if time.perf_counter() - began > time_limit_s:
            return TextbookResult(time.perf_counter() - began, 0.0, np.nan, np.nan, "not built in time")
    model.maximize(mathopt.fast_sum(terms))
    built = time.perf_counter() - began
    parameters = mathopt.SolveParameters(
        time_limit=timedelta(seconds=time_limit_s),
        threads=None if solver == "highs" else 2,
        absolute_gap_tolerance=gap,
        relative_gap_tolerance=gap,
    )
    began = time.perf_counter()
    result = mathopt.solve(model, mathopt.SolverType[solver.upper()], params=parameters)
    bounds = result.termination.objective_bounds
    return TextbookResult(
        built,
        time.perf_counter() - began,
        float(bounds.primal_bound),
        float(bounds.dual_bound),
        result.termination.reason.name.lower(),
    )
