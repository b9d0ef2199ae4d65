"""What a set of experts is worth when every question goes to the best of them, within the routing limits.

Some limits bind the routing, not the set: the mean cost of a query, the mean score of a domain, the load that
an expert's replicas carry. They are priced by multipliers mu >= 0; the value of a set is then

    f(y) = min over mu of  mu . b + sum_i w_i * best_i(mu, y),

where ``best_i`` fills one unit of question i with the experts of highest net value, at most y_j of each (for
a set: takes the best one). The same formula with fractional y is the linear relaxation, and any mu and any
threshold give a valid upper bound that is linear in y: a Benders cut (Fischetti, Ljubic and Sinnl 2017,
"Redesigning Benders decomposition for large-scale facility location").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from universe.model.prices import Prices
from universe.model.program import GROUPS, Program

Vector = NDArray[np.float64]
MULTIPLIER_CAP = 1e4  # in units of score; a limit that would need a higher price counts as broken
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Scenario:
    """One state of the world: the traffic mix and the factor on each expert's price."""

    weight: Vector  # [n] sums to 1
    price_factor: Vector  # [m]


@dataclass(frozen=True)
class Cut:
    """Upper bound on the value of each group g: constant[g] + coefficient[g] @ y + multiplier . usage[g]."""

    constant: Vector  # [groups]
    coefficient: NDArray[np.float64]  # [groups, m]
    multiplier: Vector  # [couplings]
    feasibility: bool  # the value is that of the objective 0, so the bound must not be negative


@dataclass(frozen=True)
class Routed:
    """A set's best routing. Shares and sums are of the traffic of the scenario."""

    value: float  # score minus priced query cost
    score: float
    cost_usd: float  # mean per query
    share: Vector  # [m]
    multiplier: Vector  # [couplings]
    violation: float  # by how much the routing limits must be broken, relative; 0 when they hold


class ScenarioRouter:
    """Values sets under one scenario. Couplings are, in order: cost, domains with a minimum, loads."""

    def __init__(self, program: Program, scenario: Scenario, groups: int = GROUPS) -> None:
        self.program = program
        self.scenario = scenario
        limits = program.limits
        self.groups = program.groups(groups)
        self.max_cost_usd = limits.max_cost_usd
        self.cost_scale = limits.max_cost_usd or float(program.cost_usd.max()) or 1.0
        self.floors = {program.domains.index(d): q for d, q in limits.min_score.items() if q > 0}
        self.loaded = (
            [j for j, h in enumerate(program.hosting) if np.isfinite(h.queries_per_s)]
            if limits.queries_per_s is not None
            else []
        )
        self.domain_weight = np.bincount(
            program.domain, scenario.weight, minlength=len(program.domains)
        ).astype(np.float64)
        self.names = (
            (["max_cost_usd"] if self.max_cost_usd is not None else [])
            + [f"min_score {program.domains[d]}" for d in self.floors]
            + [f"load {program.experts[j]}" for j in self.loaded]
        )
        self._plain: NDArray[np.floating] | None = None  # net of the price weight only, asked for most
        if program.price_weight == 0:
            self._plain = program.score
        else:
            self._plain = self.utility(slice(None), slice(None), np.zeros(len(self.names)))

    def capacity(self, replicas: Vector) -> Vector:
        """[couplings] right-hand sides, given the replicas [m] of each expert."""
        qps = self.program.limits.queries_per_s
        return np.array(
            ([self.max_cost_usd / self.cost_scale] if self.max_cost_usd is not None else [])
            + [-q for q in self.floors.values()]
            + [replicas[j] * self.program.hosting[j].queries_per_s / (qps or 1.0) for j in self.loaded]
        )

    def worth_range(self, rows: slice) -> tuple[float, float]:
        """Between what a group of questions can be worth over any set, with a margin for rounding."""
        utility = self.utility(rows, slice(None), np.zeros(len(self.names)))
        weight = self.scenario.weight[rows]
        return float(weight @ utility.min(axis=1)) - 0.01, float(weight @ utility.max(axis=1)) + 0.01

    def usage_ranges(self, rows: slice) -> list[tuple[float, float]]:
        """Between what a group can take of each coupling, with a margin for rounding."""
        weight, domain = self.scenario.weight[rows], self.program.domain[rows.start]
        ranges = []
        if self.max_cost_usd is not None:
            dearest = (self.program.cost_usd[rows] * self.scenario.price_factor).max(axis=1)
            ranges.append((0.0, float(weight @ dearest) / self.cost_scale + 0.01))
        ranges += [(-1.01, 0.0) if d == domain else (0.0, 0.0) for d in self.floors]
        return ranges + [(0.0, float(weight.sum()) + 0.01) for _ in self.loaded]

    def route(
        self,
        y: Vector,
        replicas: Vector,
        *,
        start: Vector | None = None,
        feasibility: bool = False,
        rounds: int = 60,
        tolerance: float = TOLERANCE,
    ) -> tuple[float, Vector, Vector, Vector]:
        """Value of y in [0, 1]^m with sum of at least 1, by column generation over the multipliers.

        Returns:
            (upper bound on the value, multipliers [couplings], score/cost/share sums of the routing
            [2 + m], usage of the couplings [couplings]).
        """
        columns = np.flatnonzero(y > 1e-9)
        rhs = self.capacity(replicas)
        if len(rhs) == 0:
            sums, _ = self._fill(y, columns, np.zeros(0), feasibility)
            return self._worth(sums, feasibility), np.zeros(0), sums, np.zeros(0)
        trials = [np.zeros(len(rhs)) if start is None else np.clip(start, 0, MULTIPLIER_CAP)]
        points: list[tuple[Vector, Vector]] = []  # sums and usage of each trial routing
        best, best_multiplier = np.inf, trials[0]
        while True:
            mu = trials[-1]
            sums, usage = self._fill(y, columns, mu, feasibility)
            points.append((sums, usage))
            bound = self._worth(sums, feasibility) + float(mu @ (rhs - usage))
            if bound < best:
                best, best_multiplier = bound, mu
            worth = np.array([self._worth(s, feasibility) for s, _ in points])
            usages = np.stack([u for _, u in points])
            lower, mu_next, mix = _price_couplings(worth, usages, rhs, total_at_most_1=feasibility)
            if best - lower <= tolerance or len(trials) >= rounds:
                sums = mix @ np.stack([s for s, _ in points])
                return best, best_multiplier, sums, mix @ usages
            trials.append(mu_next)

    def evaluate(self, members: NDArray[np.bool_], replicas: Vector, start: Vector | None = None) -> Routed:
        """Route over a set."""
        value, mu, sums, usage = self.route(members.astype(np.float64), replicas, start=start)
        rhs = self.capacity(replicas)
        violation = float(np.max(usage - rhs, initial=0.0))
        return Routed(
            value=value,
            score=float(sums[0]),
            cost_usd=float(sums[1]),
            share=sums[2:],
            multiplier=mu,
            violation=violation if violation > 10 * TOLERANCE else 0.0,
        )

    def prices(self, multiplier: Vector) -> Prices:
        """The multipliers [couplings] as prices on single questions."""
        usd, worth, load = self._unfold(multiplier, 1.0)
        return Prices(
            float(usd),
            {self.program.domains[d]: float(worth[d]) for d in self.floors},
            {self.program.experts[j]: float(load[j]) for j in self.loaded},
        )

    def cut(
        self, y: Vector, multiplier: Vector, *, feasibility: bool = False, runner_up: bool = False
    ) -> Cut:
        """The cut that is tight at y at these prices; ``runner_up``: thresholds at the second best."""
        columns = np.flatnonzero(y > 1e-9)
        constant = np.empty(len(self.groups))
        coefficient = np.empty((len(self.groups), len(y)))
        for g, rows in enumerate(self.groups):
            utility = self.utility(rows, slice(None), multiplier, feasibility)
            weight = self.scenario.weight[rows].astype(utility.dtype)
            if runner_up and len(columns) > 1:
                threshold = np.partition(utility[:, columns], -2, axis=1)[:, -2]
            else:
                threshold = _fill_order(utility[:, columns], y[columns])[0]
            constant[g] = weight @ threshold
            excess = utility - threshold[:, None]
            np.maximum(excess, 0, out=excess)
            coefficient[g] = weight @ excess
        return Cut(constant, coefficient, multiplier, feasibility)

    def utility(
        self, rows: slice, columns: NDArray[np.int64] | slice, multiplier: Vector, feasibility: bool = False
    ) -> NDArray[np.floating]:
        """[rows, columns] score net of all prices; in the feasibility problem the objective counts 0."""
        plain = not feasibility and not multiplier.any()
        if plain and self._plain is not None:
            return self._plain[rows, columns]
        p = self.program
        base = 0.0 if feasibility else 1.0
        usd, worth, load = self._unfold(multiplier, base)
        score, cost = p.score[rows, columns], p.cost_usd[rows, columns]
        if self.floors:
            result = score * worth[p.domain[rows], None].astype(score.dtype)
        else:
            result = score * score.dtype.type(base)
        if usd:
            result -= cost * (usd * self.scenario.price_factor[columns]).astype(score.dtype)
        if self.loaded:
            result -= load[columns].astype(score.dtype)
        return result

    def _unfold(self, multiplier: Vector, base: float) -> tuple[float, Vector, Vector]:
        """Price of a USD, worth of score in each domain, price of a query to each expert.

        ``base`` is the worth of the objective: 0 in the feasibility problem.
        """
        p, mu = self.program, list(multiplier)
        usd = base * p.price_weight + (mu.pop(0) / self.cost_scale if self.max_cost_usd is not None else 0.0)
        worth, load = np.full(len(p.domains), base), np.zeros(len(p.experts))
        for d in self.floors:
            worth[d] += mu.pop(0) / max(self.domain_weight[d], 1e-300)
        load[self.loaded] = mu
        return usd, worth, load

    def _fill(
        self, y: Vector, columns: NDArray[np.int64], multiplier: Vector, feasibility: bool
    ) -> tuple[Vector, Vector]:
        """Fill each question with the best columns; sums [score, cost, share of each expert] and usage."""
        p = self.program
        m = len(p.experts)
        utility = self.utility(slice(None), columns, multiplier, feasibility)
        weight = self.scenario.weight
        sums = np.zeros(2 + m)
        domain_score = np.zeros(len(p.domains))
        if (y[columns] >= 1 - 1e-9).all():
            fills = [(columns[utility.argmax(axis=1)], weight)]
        else:
            _, order, amount = _fill_order(utility, y[columns])
            fills = [(columns[order[:, k]], weight * amount[:, k]) for k in range(order.shape[1])]
        rows = np.arange(len(weight))
        for chosen, share in fills:
            if not share.any():
                continue
            score = p.score[rows, chosen] * share
            sums[0] += score.sum()
            sums[1] += (p.cost_usd[rows, chosen] * self.scenario.price_factor[chosen] * share).sum()
            sums[2:] += np.bincount(chosen, share, minlength=m)
            if self.floors:
                domain_score += np.bincount(p.domain, score, minlength=len(p.domains))
        usage = np.array(
            ([sums[1] / self.cost_scale] if self.max_cost_usd is not None else [])
            + [-domain_score[d] / max(self.domain_weight[d], 1e-300) for d in self.floors]
            + [sums[2 + j] for j in self.loaded]
        )
        return sums, usage

    def _worth(self, sums: Vector, feasibility: bool) -> float:
        return 0.0 if feasibility else float(sums[0] - self.program.price_weight * sums[1])


def _fill_order(
    utility: NDArray[np.floating], y: Vector
) -> tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.float64]]:
    """Thresholds [n], and per question the columns by falling utility with how much of each is taken."""
    if (y >= 1 - 1e-9).all():
        best = utility.argmax(axis=1)[:, None]
        return np.take_along_axis(utility, best, 1)[:, 0], best, np.ones(best.shape)
    order = np.argsort(-utility, axis=1)
    filled = np.cumsum(y[order], axis=1)
    amount = np.clip(1 - (filled - y[order]), 0, y[order])
    position = np.argmax(filled >= 1 - 1e-9, axis=1)
    critical = np.take_along_axis(order, position[:, None], 1)
    width = int(position.max()) + 1
    return np.take_along_axis(utility, critical, 1)[:, 0], order[:, :width], amount[:, :width]


def _price_couplings(
    worth: Vector, usage: NDArray[np.float64], rhs: Vector, *, total_at_most_1: bool
) -> tuple[float, Vector, Vector]:
    """min over mu of the largest worth_t + mu . (rhs - usage_t): value, mu [couplings], weights of the t."""
    from scipy.optimize import linprog

    t, k = usage.shape
    rows = np.hstack([rhs - usage, -np.ones((t, 1))])
    upper = -worth
    if total_at_most_1:
        rows = np.vstack([rows, np.append(np.ones(k), 0)])
        upper = np.append(upper, 1.0)
    cap = 1.0 if total_at_most_1 else MULTIPLIER_CAP
    found = linprog(
        np.append(np.zeros(k), 1.0),
        A_ub=rows,
        b_ub=upper,
        bounds=[(0, cap)] * k + [(None, None)],
        method="highs",
    )
    mix = np.clip(-found.ineqlin.marginals[:t], 0, None)
    return float(found.fun), found.x[:k], mix / mix.sum()
