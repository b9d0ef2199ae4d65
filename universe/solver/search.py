"""Branch and cut: sets from below, Benders cuts from above, until the two meet or the time is up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from universe.model.program import GROUPS, Program
from universe.model.risk import Risk
from universe.solver.heuristics import Candidate, SetValuer, grow_greedily, search_locally
from universe.solver.master import Master
from universe.solver.routing import TOLERANCE, Scenario, ScenarioRouter, Vector

LP_ROUNDS = 200
PILOT_QUESTIONS = 5_000  # sample that larger tables are searched on first
PILOT_CUTS = 25


@dataclass(frozen=True)
class Progress:
    """Where the search stands; given to the caller after every round."""

    stage: str
    value: float  # -inf while no set is known
    bound: float
    wall_s: float
    rounds: int


class Search:
    """The state of one search: the master with its cuts, the best set, and the bound.

    Args:
        program, scenarios, risk: what to maximise.
        gap: absolute, at which the search ends.
        solver: of the integer master, a MathOpt name.
        seconds_left: 0 or less ends the search.
        tell: called with the stage after every round.
    """

    def __init__(
        self,
        program: Program,
        scenarios: Sequence[Scenario],
        risk: Risk,
        *,
        gap: float,
        solver: str,
        seconds_left: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self.program, self.scenarios, self.risk = program, scenarios, risk
        self.gap, self.solver, self.seconds_left, self.tell = gap, solver, seconds_left, tell
        groups = max(8, GROUPS // len(scenarios))  # many scenarios with many groups each make a large master
        self.routers = [ScenarioRouter(program, s, groups) for s in scenarios]
        self.master = Master(program, self.routers, risk)
        self.valuer = SetValuer(program, self.routers, self.master.rows, risk)
        self.best: Candidate | None = None
        self.bound = self.lp_bound = math.inf
        self.cuts = self.rounds = 0
        self.multipliers = [np.zeros(len(r.names)) for r in self.routers]
        self.trail: list[tuple[Vector, list[Vector]]] = []  # where cuts were made: y and multipliers

    def run(self) -> str:
        """Relax, then branch; return optimal, infeasible, interrupted, stalled (by rounding) or stopped."""
        if len(self.program.weight) >= 4 * PILOT_QUESTIONS:
            self.learn_from_sample()
        else:
            self.price_limits()
            self.look_for_sets()
        return self.relax() or self.branch()

    def offer(self, candidate: Candidate | None) -> None:
        """Keep a set if it is the best so far."""
        if candidate is not None and (self.best is None or candidate.value > self.best.value):
            self.best = candidate

    def learn_from_sample(self) -> None:
        """Relax on a sample of the questions; its best set and the points of its cuts serve the whole."""
        rows = np.random.default_rng(0).choice(len(self.program.weight), PILOT_QUESTIONS, replace=False)
        rows.sort()
        scenarios = [replace(s, weight=s.weight[rows] / s.weight[rows].sum()) for s in self.scenarios]
        pilot = Search(
            self.program.take(rows), scenarios, self.risk, gap=self.gap, solver=self.solver,
            seconds_left=self.seconds_left, tell=lambda stage: self.tell("sample")
        )  # fmt: skip
        pilot.price_limits()
        pilot.look_for_sets()
        pilot.relax()
        self.multipliers = pilot.multipliers
        if pilot.best is not None:
            self.offer(self.valuer.evaluate(pilot.best.members, starts=self.multipliers))
        for y, multipliers in pilot.trail[-PILOT_CUTS:]:
            if self.seconds_left() > 0:
                self._add_cuts(y, multipliers)

    def price_limits(self) -> None:
        """Begin with the multipliers at which all experts together would hold the routing limits."""
        everyone, replicas = np.ones(len(self.program.experts)), self.master.max_replicas
        for s, router in enumerate(self.routers):
            _, mu, _, usage = router.route(everyone, replicas)
            if np.max(usage - router.capacity(replicas), initial=0.0) <= 1e-5:  # else no set holds them
                self.multipliers[s] = mu

    def look_for_sets(self) -> None:
        """Greedy growth and local search at the present multipliers."""
        for per_resource in (False, True):
            grown = grow_greedily(self.valuer, self.multipliers, per_resource=per_resource)
            found = self.valuer.evaluate(grown)
            if found is not None and (self.best is None or found.value > self.best.value - 0.01):
                self.offer(search_locally(self.valuer, found, stop=lambda: self.seconds_left() <= 0))

    def relax(self) -> str | None:
        """Cut the linear relaxation down, then fix what its reduced costs prove; None: the gap is open."""
        self._add_cuts(np.ones(len(self.program.experts)), self.multipliers)
        if self.best is not None:
            self.multipliers = [r.multiplier for r in self.best.routed]
            self._separate(self.best.members.astype(float), self.best.replicas, integral=True)
        self.master.relax(relaxed=True)
        stalled, solution = 0, None
        for _ in range(LP_ROUNDS):
            if self.seconds_left() <= 0:
                break
            solution = self.master.solve("glop", time_limit_s=self.seconds_left())
            if solution.infeasible:
                return "infeasible"
            if solution.y is None or solution.replicas is None:
                break
            self.rounds += 1
            stalled = stalled + 1 if self.bound - solution.bound < 1e-6 else 0
            self.bound = self.lp_bound = min(self.bound, solution.bound)
            self.tell("relaxation")
            if self._closed():
                return "optimal"
            value = self._separate(solution.y, solution.replicas, integral=False)
            if solution.bound - value <= self.gap / 10 or stalled >= 10:
                break
        self.look_for_sets()
        if self._closed():
            return "optimal"
        if self.best is not None and solution is not None and solution.reduced_cost is not None:
            for j, d in enumerate(solution.reduced_cost):
                if abs(d) > self.bound - self.best.value + self.gap:
                    self.master.fix(j, int(d > 0))
        return None

    def branch(self) -> str:
        """Solve the integer master, answer with cuts where it promised too much, and again."""
        self.master.relax(relaxed=False)
        while self.seconds_left() > 0:
            solution = self.master.solve(self.solver, time_limit_s=self.seconds_left(), gap=self.gap / 2)
            if solution.infeasible:
                # with a set that holds the limits known, the solver has rounded it away: no proof
                return "infeasible" if self.best is None else "stalled"
            self.rounds += 1
            self.bound = min(self.bound, solution.bound)
            self.tell("integer")
            if solution.y is None or solution.replicas is None:
                return "interrupted" if solution.interrupted else "stopped"
            self.offer(self.valuer.evaluate(solution.y > 0.5, replicas=solution.replicas))
            if self._closed():
                return "optimal"
            if solution.interrupted:
                return "interrupted"
            self._separate(solution.y, solution.replicas, integral=True)
        return "stopped"

    def _closed(self) -> bool:
        return self.best is not None and self.bound - self.best.value <= self.gap

    def _add_cuts(self, y: Vector, multipliers: Sequence[Vector]) -> None:
        for s, router in enumerate(self.routers):
            self.master.add(s, router.cut(y, multipliers[s]))
            self.cuts += len(router.groups)

    def _separate(self, y: Vector, replicas: Vector, *, integral: bool) -> float:
        """Add the cuts that are tight at y; return the value of y (an upper bound in the relaxation)."""
        # any multipliers give a valid cut: in the relaxation they need be no finer than the gap
        far = self.bound - self.best.value if self.best is not None and math.isfinite(self.bound) else 0.0
        tolerance = TOLERANCE if integral else max(TOLERANCE, far / 50)
        values = []
        for s, router in enumerate(self.routers):
            value, mu, _, usage = router.route(y, replicas, start=self.multipliers[s], tolerance=tolerance)
            violation = float(np.max(usage - router.capacity(replicas), initial=0.0))
            if violation > 1e-5:
                _, ray, _, _ = router.route(y, replicas, feasibility=True)
                if ray.any():
                    self.master.add(s, router.cut(y, ray, feasibility=True))
                value = -math.inf
            self.multipliers[s] = mu
            if integral:
                self.master.add(s, router.cut(y, mu, runner_up=True))
            values.append(value)
        self._add_cuts(y, self.multipliers)
        self.trail.append((y, list(self.multipliers)))
        return self.risk.of(np.array(values)) - float(self.valuer.price @ replicas)
