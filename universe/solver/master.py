"""The master program: which experts, how many replicas, and an upper bound on their worth, in MathOpt.

Binary y_j keeps expert j; integer r_j counts replicas where there is a load to carry; where a node type has
several nodes, every replica is placed on one of them. The routing itself is
not in the model: theta[s, g] bounds the worth of question group g in scenario s, through Benders cuts, and
usage[s, g, k] is what the group takes of coupling k (see :mod:`universe.solver.routing`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ortools.math_opt.python import mathopt
from ortools.math_opt.solvers.gscip.gscip_pb2 import GScipParameters

from universe.model.packing import UNITS, most_on_one_node, packed_experts
from universe.model.program import Program
from universe.model.risk import Risk
from universe.solver.routing import Cut, ScenarioRouter

Vector = NDArray[np.float64]
# no Python signal handler runs while a solver does
SCIP_HEARS_CTRL_C = GScipParameters(bool_params={"misc/catchctrlc": True})


@dataclass(frozen=True)
class MasterSolution:
    """Values of a solved master; ``y`` is None when the time ran out before any solution."""

    infeasible: bool
    bound: float
    interrupted: bool = False  # by Ctrl-C
    y: Vector | None = None
    replicas: Vector | None = None
    reduced_cost: Vector | None = None  # linear relaxation only


@dataclass(frozen=True)
class Row:
    """A linear limit on the set itself: of_y . y + of_replicas . r <= upper, in scaled units."""

    name: str
    of_y: Vector
    of_replicas: Vector
    upper: float


def linear_rows(program: Program) -> list[Row]:
    """The limits that speak of the set and its replicas only."""
    limits, m = program.limits, len(program.experts)
    zero = np.zeros(m)
    rows = [Row("at least one expert", -np.ones(m), zero, -1.0)]
    if limits.max_experts is not None:
        rows.append(Row("max_experts", np.ones(m), zero, float(limits.max_experts)))
    if limits.max_usd_per_hour is not None:
        price = np.array([h.usd_per_hour for h in program.hosting])
        scale = limits.max_usd_per_hour or 1.0
        rows.append(Row("max_usd_per_hour", zero, price / scale, limits.max_usd_per_hour / scale))
    for name, node in limits.nodes.items():
        here = np.array([h.node_type == name for h in program.hosting])
        for unit in UNITS:
            total = node.count * getattr(node, unit)
            if math.isfinite(total):
                need = here * np.array([getattr(h, unit) for h in program.hosting])
                rows.append(
                    Row(f"{unit} of node type {name}", zero, need / (total or 1.0), total / (total or 1.0))
                )
    rows += [Row(f"must_have {n}", -_unit(program, [n]), zero, -1.0) for n in limits.must_have]
    rows += [Row(f"must_not {n}", _unit(program, [n]), zero, 0.0) for n in limits.must_not]
    rows += [
        Row(f"at most one of {', '.join(group)}", _unit(program, group), zero, 1.0)
        for group in limits.exclusive
        if len(group) > 1
    ]
    return rows


class Master:
    """A growing MathOpt model; ``solve`` may be asked for its relaxation or the integer program."""

    def __init__(self, program: Program, routers: Sequence[ScenarioRouter], risk: Risk) -> None:
        self.program, self.routers = program, routers
        self.rows = linear_rows(program)
        m = len(program.experts)
        self.model = mathopt.Model(name="universe")
        self.y = [self.model.add_binary_variable(name=f"y[{j}]") for j in range(m)]
        loaded = set(routers[0].loaded)
        self.max_replicas = self._replica_caps(loaded)
        self.replicas: list[Any] = []
        for j in range(m):
            minimum = program.hosting[j].min_replicas
            if j in loaded:
                r = self.model.add_integer_variable(lb=0, ub=self.max_replicas[j], name=f"r[{j}]")
                self.model.add_linear_constraint(r >= minimum * self.y[j])
                self.model.add_linear_constraint(r <= float(self.max_replicas[j]) * self.y[j])
                self.replicas.append(r)
            else:
                self.replicas.append(minimum * self.y[j])
        for row in self.rows:
            expression = mathopt.fast_sum(
                [float(a) * v for a, v in zip(row.of_y, self.y, strict=True) if a]
                + [float(a) * r for a, r in zip(row.of_replicas, self.replicas, strict=True) if a]
            )
            self.model.add_linear_constraint(expression <= row.upper)
        self.placed: list[Any] = []
        self._pack_replicas()
        self.theta: list[list[Any]] = []
        self.usage: list[list[list[Any]]] = []
        for router in routers:
            self._add_scenario(router)
        self._set_objective(risk)

    def add(self, scenario: int, cut: Cut) -> None:
        """Add a cut, one row per group."""
        for g in range(len(cut.constant)):
            row = cut.coefficient[g]
            used = np.flatnonzero(row > 1e-12)
            bound = mathopt.fast_sum(
                [float(row[j]) * self.y[j] for j in used]
                + [
                    float(mu) * u
                    for mu, u in zip(cut.multiplier, self.usage[scenario][g], strict=True)
                    if mu and u is not None
                ]
            )
            left = 0.0 if cut.feasibility else self.theta[scenario][g]
            self.model.add_linear_constraint(left - bound <= float(cut.constant[g]))

    def fix(self, expert: int, value: int) -> None:
        """Keep an expert in or out for good."""
        self.y[expert].lower_bound = self.y[expert].upper_bound = value

    def relax(self, *, relaxed: bool) -> None:
        """Switch between the linear relaxation and the integer program."""
        counts = [r for r in self.replicas if isinstance(r, mathopt.Variable)]
        for variable in (*self.y, *counts, *self.placed):
            variable.integer = not relaxed

    def solve(self, solver: str, *, time_limit_s: float, gap: float = 0.0) -> MasterSolution:
        """Solve the model as it stands."""
        relaxed = not self.y[0].integer
        parameters = mathopt.SolveParameters(
            time_limit=timedelta(seconds=max(time_limit_s, 0.01)),
            gscip=SCIP_HEARS_CTRL_C if threading.current_thread() is threading.main_thread() else None,
            absolute_gap_tolerance=None if relaxed else gap,
            relative_gap_tolerance=None if relaxed else 0.0,
        )
        result = mathopt.solve(self.model, mathopt.SolverType[solver.upper()], params=parameters)
        reason = result.termination.reason
        if reason in (
            mathopt.TerminationReason.INFEASIBLE,
            mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED,
        ):
            return MasterSolution(infeasible=True, bound=-math.inf)
        bound = float(result.termination.objective_bounds.dual_bound)
        interrupted = result.termination.limit == mathopt.Limit.INTERRUPTED
        if not result.has_primal_feasible_solution():
            return MasterSolution(infeasible=False, bound=bound, interrupted=interrupted)
        values = result.variable_values()
        y = np.array([values[v] for v in self.y])
        replicas = np.array(
            [
                values[r] if isinstance(r, mathopt.Variable) else self.program.hosting[j].min_replicas * y[j]
                for j, r in enumerate(self.replicas)
            ]
        )
        reduced = None
        if relaxed and result.has_dual_feasible_solution():
            costs = result.reduced_costs()
            reduced = np.array([costs[v] for v in self.y])
        if not relaxed:
            y, replicas = np.round(y), np.round(replicas)
        return MasterSolution(
            False, bound, interrupted, np.clip(y, 0, 1), np.clip(replicas, 0, None), reduced
        )

    def _pack_replicas(self) -> None:
        """Every replica lies on one node: placed counts the replicas of an expert on a node."""
        for name, node in self.program.limits.nodes.items():
            experts = packed_experts(self.program, name, node)
            placed = {
                j: [
                    self.model.add_integer_variable(lb=0, ub=most_on_one_node(self.program.hosting[j], node))
                    for _ in range(node.count)
                ]
                for j in experts
            }
            for j in experts:
                self.model.add_linear_constraint(mathopt.fast_sum(placed[j]) == self.replicas[j])
                self.placed += placed[j]
            for unit in UNITS if experts else ():
                room = getattr(node, unit)
                if math.isfinite(room):
                    for i in range(node.count):
                        used = [getattr(self.program.hosting[j], unit) * placed[j][i] for j in experts]
                        self.model.add_linear_constraint(mathopt.fast_sum(used) <= room)

    def _add_scenario(self, router: ScenarioRouter) -> None:
        couplings = len(router.names)
        theta, usage = [], []
        for rows in router.groups:
            worst, best = router.worth_range(rows)
            theta.append(self.model.add_variable(lb=worst, ub=best))
            usage.append(
                [
                    self.model.add_variable(lb=least, ub=most) if least < most else None
                    for least, most in router.usage_ranges(rows)
                ]
            )
        capacity = self._capacity_expressions(router)
        for k in range(couplings):
            total = mathopt.fast_sum([u[k] for u in usage if u[k] is not None])
            self.model.add_linear_constraint(total <= capacity[k])
        self.theta.append(theta)
        self.usage.append(usage)

    def _capacity_expressions(self, router: ScenarioRouter) -> list[Any]:
        base = router.capacity(np.zeros(len(self.program.experts)))
        one = router.capacity(np.ones(len(self.program.experts)))
        first = len(base) - len(router.loaded)
        return [
            float(base[k]) if k < first else float(one[k]) * self.replicas[router.loaded[k - first]]
            for k in range(len(base))
        ]

    def _set_objective(self, risk: Risk) -> None:
        worth = [mathopt.fast_sum(theta) for theta in self.theta]
        objective = (1 - risk.weight) / len(worth) * mathopt.fast_sum(worth)
        if risk.weight > 0:
            level = self.model.add_variable(lb=-math.inf, ub=1.0)
            short = [self.model.add_variable(lb=0.0) for _ in worth]
            for s, w in zip(short, worth, strict=True):
                self.model.add_linear_constraint(s >= level - w)
            count = max(1.0, risk.tail * len(worth))
            objective += risk.weight * (level - (1 / count) * mathopt.fast_sum(short))
        price = hosting_price(self.program)
        objective -= mathopt.fast_sum([float(p) * r for p, r in zip(price, self.replicas, strict=True) if p])
        self.model.maximize(objective)

    def _replica_caps(self, loaded: set[int]) -> Vector:
        qps = self.program.limits.queries_per_s or 0.0
        caps = np.array([float(h.min_replicas) for h in self.program.hosting])
        for j in loaded:
            caps[j] = max(caps[j], math.ceil(qps / self.program.hosting[j].queries_per_s))
        return caps


def hosting_price(program: Program) -> Vector:
    """[m] score that a replica of each expert costs, per query; 0 when no load or no price is given."""
    qps = program.limits.queries_per_s
    if qps is None or program.price_weight == 0:
        return np.zeros(len(program.experts))
    return np.array([program.price_weight * h.usd_per_hour / (3600 * qps) for h in program.hosting])


def _unit(program: Program, names: Sequence[str]) -> Vector:
    vector = np.zeros(len(program.experts))
    vector[program.index(names)] = 1.0
    return vector
