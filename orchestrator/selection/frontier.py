"""The frontier of choosing by net value: every multiplier at which the choice for some query changes.

As the multiplier rises from nothing to infinity, a query's choice moves along the upper hull of its own
(expected cost, expected success) points, from the most successful expert to the cheapest, and goes over to a
cheaper one exactly where the multiplier reaches the slope between two neighbours of that hull. The mean over
the queries changes nowhere else. So the slopes of all hulls, sorted, are all the settings that there are:
the linear relaxation of the multiple-choice knapsack, solved for every budget at once (Sinha and Zoltners,
*The multiple-choice knapsack problem*, 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.selection.value import COST_ALONE

ROUNDING = 1e-9  # slopes that are nearer to each other than this, as a ratio, are taken for one
STEEPEST = 1e300  # slopes beyond it count as it
MOST_SETTINGS = 1000  # of a sweep
MOST_CELLS = 4_000_000  # of the [settings, n] arrays of a sweep
FEWEST_SETTINGS = 100  # of a sweep, however many queries there are

Floats = NDArray[np.float64]
Columns = NDArray[np.intp]


@dataclass(frozen=True)
class Switches:
    """The multipliers at which queries switch to a cheaper expert, in rising order."""

    multiplier: Floats  # [s] success per USD at which both are worth the same
    query: Columns  # [s] row
    dearer: Columns  # [s] column that is chosen below the multiplier
    cheaper: Columns  # [s] column that is chosen from there on
    step: Columns  # [s] of its query's switches the first, second, ... from the cheap end, counted from 0


@dataclass(frozen=True)
class Frontier:
    """Expected success and cost of choosing by net value, at each setting from the dearest to the cheapest.

    Setting ``i`` holds from ``multipliers[i]`` to below ``multipliers[i + 1]``, the last one for good. At
    ``multipliers[i]`` itself the queries of :meth:`tied` are worth as much at the dearer of two experts;
    they are given to the cheaper one.
    """

    multipliers: Floats  # [k] rising, from 0
    cost_usd: Floats  # [k] expected, mean of a query; falling
    success: Floats  # [k] expected, mean of a query; falling
    switches: Switches
    starts: Columns  # [k + 1] the switches from starts[i] to below starts[i + 1] lead into setting i
    cheapest: Columns  # [n] column of each query's cheapest expert

    def tied(self, setting: int) -> Columns:
        """Rows of the queries whose choice changes at the multiplier at which a setting begins."""
        return self.switches.query[self.starts[setting] : self.starts[setting + 1]]

    def setting_at_spend(self, usd_per_query: float) -> int:
        """Return the dearest setting within an expected cost; the cheapest if there is none."""
        within = self.cost_usd <= usd_per_query * (1 + 1e-12)
        return int(within.argmax()) if within.any() else len(within) - 1

    def multiplier_at_spend(self, usd_per_query: float) -> float:
        """Return the smallest multiplier, beyond all ties, whose expected cost is at most this.

        If even the cheapest experts cost more, it is one at which only cost counts.
        """
        setting = self.setting_at_spend(usd_per_query)
        if self.cost_usd[setting] > usd_per_query * (1 + 1e-12):
            return COST_ALONE
        return float(self.multipliers[setting] * (1 + ROUNDING))

    def inside(self, setting: NDArray[np.integer]) -> Floats:
        """Return multipliers well inside settings, so that rounding does not change the choice.

        0 for the first setting, and infinity for the last.
        """
        middle: Floats = np.sqrt(self.multipliers) * np.sqrt(np.append(self.multipliers[1:], 0.0))
        if len(middle) > 1:
            middle[-1] = np.inf
        found: Floats = middle[setting]
        return found

    def thin(self, count: int = MOST_SETTINGS) -> Columns:
        """Return at most ``count`` settings, first and last included, evenly spread over log cost.

        If the cheapest setting is free, the spread is over cost.
        """
        k = len(self.multipliers)
        if k <= count:
            return np.arange(k)
        place = np.log(self.cost_usd) if self.cost_usd[-1] > 0 else self.cost_usd
        wanted = np.linspace(place[0], place[-1], count)
        found = np.searchsorted(-place, -wanted)  # the dearest setting within each cost
        found[[0, -1]] = 0, k - 1
        return np.unique(found)

    def settings(self, count: int = MOST_SETTINGS) -> Floats:
        """Return the multipliers of a sweep, rising: one inside each setting of :meth:`thin`.

        Of many queries fewer than ``count`` settings, so that [settings, n] arrays stay small.
        """
        affordable = max(MOST_CELLS // len(self.cheapest), FEWEST_SETTINGS)
        return self.inside(self.thin(min(count, affordable)))

    def choose(self, multipliers: Floats) -> NDArray[np.int16]:
        """Return the columns [settings, n] chosen at some multipliers; ties go to the cheaper."""
        choice = np.tile(self.cheapest.astype(np.int16), (len(multipliers), 1))
        s = self.switches
        for step in range(int(s.step.max(initial=-1)) + 1):
            part = s.step == step
            rows = s.query[part]
            climbs = multipliers[:, None] < s.multiplier[part]
            choice[:, rows] = np.where(climbs, s.dearer[part], choice[:, rows])
        return choice

    def mean_of(self, values: NDArray[np.floating], weights: Floats | None = None) -> Floats:
        """Return the mean of a table's chosen cells at every setting.

        Args:
            values: [n, m] such as what was scored or paid; no cell may be NaN.
            weights: [r, n] of the queries, for bootstrap replicates; by default all count alike.

        Returns:
            Means [k], or [r, k] with weights.
        """
        n = len(values)
        share = np.full((1, n), 1 / n) if weights is None else weights / weights.sum(axis=1, keepdims=True)
        s = self.switches
        lowest = share @ values[np.arange(n), self.cheapest].astype(np.float64)
        step = values[s.query, s.dearer].astype(np.float64) - values[s.query, s.cheaper]
        # the steps not yet taken away, from the dear end: what the switches beyond a setting still add
        added = np.zeros((len(share), len(step) + 1))
        np.cumsum((share[:, s.query] * step)[:, ::-1], axis=1, out=added[:, 1:])
        means: Floats = lowest[:, None] + added[:, ::-1][:, self.starts[1:]]
        return means[0] if weights is None else means


def find_frontier(success: NDArray[np.floating], cost_usd: Floats) -> Frontier:
    """Find every setting of choosing by net value on some queries.

    Args:
        success: [n, m] expected scores; n and m at least 1.
        cost_usd: [n, m] expected costs.
    """
    s, c = np.asarray(success, np.float64), np.asarray(cost_usd, np.float64)
    cheapest = np.where(c <= c.min(axis=1, keepdims=True), s, -np.inf).argmax(axis=1)
    switches = _sort(_walk_hulls(s, c, cheapest))
    slopes = switches.multiplier
    is_first = np.ones(len(slopes), bool)
    is_first[1:] = slopes[1:] > slopes[:-1] * (1 + ROUNDING)
    starts = np.concatenate([[0], np.flatnonzero(is_first), [len(slopes)]]).astype(np.intp)
    # of slopes that are taken for one, the greatest: from there on all have gone over
    multipliers = np.concatenate([[0.0], slopes[starts[2:] - 1]])
    bare = Frontier(multipliers, multipliers, multipliers, switches, starts, cheapest)
    return Frontier(multipliers, bare.mean_of(c), bare.mean_of(s), switches, starts, cheapest)


def _walk_hulls(s: Floats, c: Floats, cheapest: Columns) -> list[Switches]:
    """Climb all hulls at once, from the cheapest expert: the next corner is where success rises fastest."""
    found = []
    rows, at, step = np.arange(len(s)), cheapest, 0
    while len(rows):
        more_cost = c[rows] - c[rows, at][:, None]
        more_success = s[rows] - s[rows, at][:, None]
        slope = np.full(more_cost.shape, -np.inf)
        climbs = (more_success > 0) & (more_cost > 0)
        with np.errstate(over="ignore"):  # a rise for next to nothing
            np.divide(more_success, more_cost, out=slope, where=climbs)
        steepest = slope.max(axis=1, keepdims=True)
        target = np.where(slope >= steepest, more_cost, -np.inf).argmax(axis=1)  # the farthest of equals
        goes_on = climbs.any(axis=1)
        rows, at, target = rows[goes_on], at[goes_on], target[goes_on]
        slopes = np.minimum(steepest[goes_on, 0], STEEPEST)
        found.append(Switches(slopes, rows, target, at, np.full(len(rows), step)))
        at, step = target, step + 1
    return found


def _sort(parts: list[Switches]) -> Switches:
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("multiplier", "query", "dearer", "cheaper", "step")
    }
    order = np.argsort(joined["multiplier"], kind="stable")
    return Switches(**{name: values[order] for name, values in joined.items()})
