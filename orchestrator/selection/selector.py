"""Choose an expert for each query: at a fixed price on cost, or within a budget for a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Prediction
from orchestrator.selection.overruns import price_ratio
from orchestrator.selection.value import net_value
from warehouse import InfeasibleError

CHUNK = 65_536  # queries worked on at once, so that memory stays near the size of the input
DUAL_STEPS = 60
SAMPLE = 20_000  # queries of a large batch on which the multiplier is sought first
BREAKPOINT_WINDOW = 4_096  # queries whose exchange is searched in the repair


@dataclass(frozen=True)
class BatchSelection:
    """One expert for each of ``n`` queries, within the budget."""

    choice: NDArray[np.intp]  # [n] column of the prediction
    success: float  # expected, summed over the queries
    cost_usd: float  # expected, summed; never above the budget
    multiplier: float  # success that a dollar buys at the margin (points of success per USD)
    bound: float  # no selection within the budget has more expected success than this
    gap: float  # (bound - success) / bound


def select_at_multiplier(
    success: NDArray[Any], cost_usd: NDArray[Any], multiplier: float
) -> NDArray[np.intp]:
    """Return for each query [n] the expert of highest success - multiplier * cost; ties to the cheaper."""
    if np.isinf(multiplier):
        return _cheapest(success, cost_usd)
    choice = np.empty(len(success), np.intp)
    for start in range(0, len(success), CHUNK):
        part = slice(start, start + CHUNK)
        value = net_value(success[part], cost_usd[part], multiplier)
        tied = value >= value.max(axis=1, keepdims=True)
        choice[part] = np.where(tied, cost_usd[part], np.inf).argmin(axis=1)
    return choice


def select_batch(prediction: Prediction, budget_usd: float) -> BatchSelection:
    """Maximise expected success over a whole batch within a budget (a multiple-choice knapsack).

    The Lagrangian dual gives a price on cost (bisection on the multiplier) and an upper bound; the repair
    then spends what is left by the exchanges that gain most per dollar at that price. Kellerer, Pferschy and
    Pisinger, *Knapsack Problems* (2004), chapter 11.

    Raises:
        InfeasibleError: even the cheapest expert for every query costs more than the budget.
    """
    success, cost = prediction.success, prediction.cost_usd
    if not len(success):
        return BatchSelection(np.empty(0, np.intp), 0.0, 0.0, 0.0, 0.0, 0.0)
    low = _evaluate(_cheapest(success, cost), success, cost)
    if low.cost > budget_usd * (1 + 1e-12):
        raise InfeasibleError(
            f"the budget of ${budget_usd:.6g} does not cover the cheapest choice of ${low.cost:.6g}",
            fix="raise the budget, send fewer queries, or add a cheaper expert",
        )
    high = _evaluate(select_at_multiplier(success, cost, 0.0), success, cost)
    if high.cost <= budget_usd:
        return BatchSelection(high.choice, high.success, high.cost, 0.0, high.success, 0.0)
    cheap, dear = low, high
    lower, upper = 0.0, _largest_multiplier(success, cost)
    bound = high.success
    guesses = _guess(prediction, budget_usd)
    for _ in range(DUAL_STEPS):
        # Where the two Lagrangian lines cross: exact on a piecewise linear dual; bisect if it stalls.
        middle = (dear.success - cheap.success) / max(dear.cost - cheap.cost, 1e-300)
        if guesses:
            middle = guesses.pop()
        if not lower < middle < upper:
            middle = (lower + upper) / 2
        step = _evaluate(select_at_multiplier(success, cost, middle), success, cost)
        bound = min(bound, step.success + middle * (budget_usd - step.cost))
        if step.cost <= budget_usd:
            upper = middle
            stalled = step.cost == cheap.cost
            cheap = step
        else:
            lower = middle
            stalled = step.cost == dear.cost
            dear = step
        if stalled or upper - lower <= 1e-12 * upper:
            break
    chosen = _repair(cheap, success, cost, budget_usd, upper)
    gap = max(bound - chosen.success, 0.0) / max(abs(bound), 1e-300)
    return BatchSelection(chosen.choice, chosen.success, chosen.cost, upper, bound, gap)


def select_again(
    prediction: Prediction, budget_usd: float, *, answered_by: NDArray[np.intp], paid_usd: NDArray[np.float64]
) -> BatchSelection:
    """Solve a batch again once some of its answers have come, with their actual costs.

    The ratio of an expert's actual to forecast costs corrects its remaining forecasts, and the open queries
    share what is left of the budget.

    Args:
        prediction: [n, m] of the whole batch.
        budget_usd: for the whole batch.
        answered_by: [n] column of the expert that answered; -1 where the query is open.
        paid_usd: [n] cost of the answer; ignored for open queries.

    Returns:
        A selection of the whole batch; answered queries keep their expert, at the actual cost.

    Raises:
        InfeasibleError: what is left does not cover the cheapest choice for the others.
    """
    done, is_open = np.flatnonzero(answered_by >= 0), np.flatnonzero(answered_by < 0)
    by, spent = answered_by[done], paid_usd[done]
    m = len(prediction.experts)
    paid, expected = np.zeros(m), np.zeros(m)
    np.add.at(paid, by, spent)
    np.add.at(expected, by, prediction.cost_usd[done, by])
    ratio = price_ratio(paid, expected, np.maximum(prediction.cost_usd.mean(axis=0), 1e-300))
    left_usd = budget_usd - float(spent.sum())
    if left_usd < 0:
        raise InfeasibleError(
            f"the answers so far cost ${spent.sum():.6g}, more than the budget of ${budget_usd:.6g}",
            fix="raise the budget",
        )
    rest = select_batch(
        Prediction(prediction.experts, prediction.success[is_open], prediction.cost_usd[is_open] * ratio),
        left_usd,
    )
    choice = answered_by.copy()
    choice[is_open] = rest.choice
    earned = float(prediction.success[done, by].sum(dtype=np.float64))
    bound = rest.bound + earned
    gap = max(bound - earned - rest.success, 0.0) / max(abs(bound), 1e-300)
    return BatchSelection(
        choice, earned + rest.success, float(spent.sum()) + rest.cost_usd, rest.multiplier, bound, gap
    )


def _guess(prediction: Prediction, budget_usd: float) -> list[float]:
    """Multipliers on both sides of that of a sample: a large batch then needs few passes."""
    n = len(prediction.success)
    if n <= 2 * SAMPLE:
        return []
    rows = np.linspace(0, n - 1, SAMPLE).astype(np.intp)
    sample = prediction.take(rows)
    cheapest = float(sample.cost_usd.min(axis=1).sum())
    multiplier = select_batch(sample, max(budget_usd * SAMPLE / n, cheapest * (1 + 1e-9))).multiplier
    return [multiplier * 0.98, multiplier * 1.02]


@dataclass(frozen=True)
class _Point:
    choice: NDArray[np.intp]
    success: float
    cost: float


def _evaluate(choice: NDArray[np.intp], success: NDArray[Any], cost: NDArray[Any]) -> _Point:
    rows = np.arange(len(choice))
    return _Point(
        choice,
        float(success[rows, choice].sum(dtype=np.float64)),
        float(cost[rows, choice].sum(dtype=np.float64)),
    )


def _cheapest(success: NDArray[Any], cost: NDArray[Any]) -> NDArray[np.intp]:
    """The cheapest expert for each query; ties to the more successful."""
    choice = np.empty(len(success), np.intp)
    for start in range(0, len(success), CHUNK):
        part = slice(start, start + CHUNK)
        tied = cost[part] <= cost[part].min(axis=1, keepdims=True)
        choice[part] = np.where(tied, success[part], -np.inf).argmax(axis=1)
    return choice


def _largest_multiplier(success: NDArray[Any], cost: NDArray[Any]) -> float:
    """A multiplier beyond which every query takes its cheapest expert."""
    largest = 0.0
    for start in range(0, len(success), CHUNK):
        part = slice(start, start + CHUNK)
        s, c = success[part], cost[part]
        cheapest = _cheapest(s, c)[:, None]
        dearer = c - np.take_along_axis(c, cheapest, axis=1)
        gain = s - np.take_along_axis(s, cheapest, axis=1)
        rate = np.divide(gain, dearer, out=np.zeros_like(dearer), where=(dearer > 0) & (gain > 0))
        largest = max(largest, float(rate.max()))
    return largest * (1 + 1e-9) + 1e-300


def _repair(
    point: _Point, success: NDArray[Any], cost: NDArray[Any], budget: float, multiplier: float
) -> _Point:
    """Spend what the dual left over: upgrade queries in the order of gain per dollar while money lasts."""
    choice = point.choice.copy()
    rows = np.arange(len(choice))
    for _ in range(8):
        left = budget - float(cost[rows, choice].sum(dtype=np.float64))
        target, extra, gain = _upgrades(choice, success, cost, left, multiplier)
        candidates = np.flatnonzero(gain > 0)
        if not len(candidates):
            break
        best_first = candidates[
            np.argsort(-(gain[candidates] - multiplier * extra[candidates]), kind="stable")
        ]
        taken = _take_while_affordable(best_first, extra, left)
        if not len(taken):
            break
        choice[taken] = target[taken]
    chosen = _evaluate(choice, success, cost)
    return chosen if chosen.cost <= budget and chosen.success >= point.success else point


def _upgrades(
    choice: NDArray[np.intp], success: NDArray[Any], cost: NDArray[Any], left: float, multiplier: float
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Per query, the affordable upgrade that loses least at the multiplier: target, extra cost, gain."""
    n = len(choice)
    target = choice.copy()
    extra, gain = np.zeros(n), np.zeros(n)
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        held = choice[part][:, None]
        more = cost[part] - np.take_along_axis(cost[part], held, axis=1)
        better = success[part].astype(np.float64) - np.take_along_axis(success[part], held, axis=1)
        worth = np.where((better > 0) & (more <= left), better - multiplier * more, -np.inf)
        best = worth.argmax(axis=1)[:, None]
        possible = np.isfinite(np.take_along_axis(worth, best, axis=1))[:, 0]
        target[part] = np.where(possible, best[:, 0], choice[part])
        extra[part] = np.where(possible, np.take_along_axis(more, best, axis=1)[:, 0], 0.0)
        gain[part] = np.where(possible, np.take_along_axis(better, best, axis=1)[:, 0], 0.0)
    return target, extra, gain


def _take_while_affordable(
    order: NDArray[np.intp], extra: NDArray[np.float64], left: float
) -> NDArray[np.intp]:
    """Go down the order; take each one that still fits (first a whole prefix, then one by one)."""
    spent = np.cumsum(np.maximum(extra[order], 0.0))
    prefix = int(np.searchsorted(spent, left, side="right"))
    taken = list(order[:prefix])
    remaining = left - (float(spent[prefix - 1]) if prefix else 0.0)
    for query in order[prefix : prefix + BREAKPOINT_WINDOW]:
        if extra[query] <= remaining:
            taken.append(query)
            remaining -= extra[query]
    return np.array(taken, dtype=np.intp)
