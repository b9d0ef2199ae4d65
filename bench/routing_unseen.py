"""A domain that was left out of the learning, asked afterwards: the router against the zero-router."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.table import Table

from orchestrator.evaluation import metrics
from orchestrator.predictors.base import Prediction
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.hull import convex_hull

REPLICATES = 500


@dataclass(frozen=True)
class Unseen:
    """How a router fares in a domain, in points over the zero-router that learned from the same questions."""

    questions: int
    area: float  # over log cost, up to twice the best single expert's price
    low: float
    high: float
    freely: float  # with no pressure, less the expert that is best on the questions learned from


def measure_unseen(
    seen: Prediction,
    seen_score: np.ndarray,
    seen_cost_usd: np.ndarray,
    asked: Prediction,
    score: np.ndarray,
    paid_usd: np.ndarray,
) -> Unseen:
    """Compare on the questions of a domain, paired over them.

    Args:
        seen: forecasts of the questions learned from, each by a router that had not. The router's settings
            are the corners of the hull there, as the zero-router's experts are; luck has few to choose from.
        seen_score: [k, m]
        seen_cost_usd: [k, m]
        asked: forecasts in the domain.
        score: [n, m] in it.
        paid_usd: [n, m]
    """
    known = find_frontier(seen.success, seen.cost_usd)
    grid = known.settings()
    tried, rows = known.choose(grid), np.arange(len(seen_score))
    chosen = corners(seen_cost_usd[rows, tried].mean(axis=1), seen_score[rows, tried].mean(axis=1))
    choice = find_frontier(asked.success, asked.cost_usd).choose(grid[chosen])  # [settings, n]
    rows = np.arange(len(score))
    quality, price = score[rows, choice], paid_usd[rows, choice]
    mean_score, mean_usd = seen_score.mean(axis=0), seen_cost_usd.mean(axis=0)
    plain, best = corners(mean_usd, mean_score), int(mean_score.argmax())
    drawn = metrics.question_weights(len(score), REPLICATES, seed=0)
    weights = np.concatenate([np.ones((1, len(score))), drawn])
    weights = weights / weights.sum(axis=1, keepdims=True)
    single_usd, single = weights @ paid_usd, weights @ score
    lift = []
    for own_usd, own, usd, right in zip(
        weights @ price.T, weights @ quality.T, single_usd, single, strict=True
    ):
        ours, zero = (
            metrics.aiq(c, q, usd, right, log_cost=True, high_usd=2 * usd[best])
            for c, q in ((own_usd, own), (usd[plain], right[plain]))
        )
        lift.append(100 * (ours - zero))
    low, high = metrics.interval(lift[1:])
    free_choice = asked.success.argmax(axis=1)
    freely = 100 * float((score[rows, free_choice] - score[:, best]).mean())
    return Unseen(len(score), lift[0], low, high, freely)


def corners(price: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """Return which points are corners of the hull."""
    found = set(zip(*convex_hull(price, quality), strict=True))
    return np.array([i for i, point in enumerate(zip(price, quality, strict=True)) if point in found])


def unseen_table() -> Table:
    """Return the table that rows of :func:`add_unseen_row` go into."""
    return Table(
        "pool", "questions", "area less the zero-router's", "no pressure, less best single",
        title="each domain left out of the learning and asked afterwards, in points",
        caption="the zero-router is fitted on the other domains too",
    )  # fmt: skip


def add_unseen_row(table: Table, name: str, found: Unseen) -> None:
    """Add what one domain showed."""
    mark = " below" if found.high < 0 else ""
    table.add_row(
        name,
        str(found.questions),
        f"{found.area:+.2f} [{found.low:+.2f}, {found.high:+.2f}]{mark}",
        f"{found.freely:+.2f}",
    )
