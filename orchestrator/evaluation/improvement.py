"""The frozen evaluation set, and what a round gained on it: accuracy at a fixed cost, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.compare import sweep_router
from orchestrator.evaluation.metrics import interval, question_weights
from orchestrator.policy import Orchestrator
from orchestrator.selection.hull import convex_hull, hull_value
from warehouse import Outcomes, TooFewError

REPLICATES = 1000
MIN_QUESTIONS = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% bootstrap interval over questions."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, replicates: Floats) -> Estimate:
        """From the value itself followed by its replicates."""
        return cls(float(replicates[0]), *interval(replicates[1:]))

    def __str__(self) -> str:
        return f"{100 * self.value:.1f}% [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class Improvement:
    """Accuracy on the frozen set at a fixed mean cost per query, before and after; paired."""

    questions: int
    at_cost_usd: float
    before: Estimate
    after: Estimate
    difference: Estimate


def fix_cost(frozen: Outcomes) -> float:
    """The mean cost per query at which rounds are compared: half way, in ratio, from the cheapest expert's to
    the dearest's.
    """
    mean = np.nanmean(frozen.cost_usd, axis=0)
    cheapest, dearest = float(mean.min()), float(mean.max())
    return float(np.sqrt(cheapest * dearest)) if cheapest > 0 else dearest / 2


def measure_improvement(
    before: Orchestrator | None,
    after: Orchestrator,
    frozen: Outcomes,
    at_cost_usd: float,
    *,
    cache_dir: Path | None = None,
) -> Improvement:
    """Compare two routers on the frozen questions that all their experts answered.

    Without a router before, what is compared with is the best mix of single experts at that cost (the
    zero-router), chosen with hindsight.

    Raises:
        TooFewError: fewer than ``MIN_QUESTIONS`` such questions.
    """
    names = list(dict.fromkeys([*(before.experts if before else ()), *after.experts]))
    outcomes = frozen.only(names)
    outcomes = outcomes.take(np.asarray(np.isfinite(outcomes.score + outcomes.cost_usd).all(axis=1)))
    n = len(outcomes)
    if n < MIN_QUESTIONS:
        raise TooFewError(
            f"{n} frozen questions were answered by all of {', '.join(names)}",
            fix=f"freeze more; {MIN_QUESTIONS} at least, better 500",
        )
    weights = np.vstack([np.ones(n), question_weights(n, REPLICATES, seed=0)]) / n

    def measure(router: Orchestrator) -> Floats:
        points, _ = sweep_router(router, outcomes, cache_dir)
        return accuracy_at_cost(points.score, points.cost_usd, at_cost_usd, weights)

    if before is None:
        score, cost = weights @ outcomes.score, weights @ outcomes.cost_usd
        former = np.array(
            [
                hull_value(max(at_cost_usd, float(c.min())), *convex_hull(c, s))
                for c, s in zip(cost, score, strict=True)
            ]
        )
    else:
        former = measure(before)
    latter = measure(after)
    return Improvement(n, at_cost_usd, Estimate.of(former), Estimate.of(latter), Estimate.of(latter - former))


def accuracy_at_cost(
    score: NDArray[np.floating], cost_usd: Floats, at_cost_usd: float, weights: Floats | None = None
) -> Floats:
    """Mean score at a mean cost per query, between the two settings of a policy whose costs enclose it.

    Settings are mixed by cost alone: no setting is preferred because it scored well on these questions, which
    would flatter a policy with many settings. Below the cheapest setting the cheapest counts, above the
    dearest the dearest.

    Args:
        score: [settings, n], settings by rising price on cost.
        cost_usd: [settings, n].
        at_cost_usd: mean cost per query.
        weights: [r, n] of the questions, for bootstrap replicates; by default all alike.

    Returns:
        Accuracy [r] (one value without weights).
    """
    n = score.shape[1]
    weights = np.full((1, n), 1 / n) if weights is None else weights / weights.sum(axis=1, keepdims=True)
    quality = (weights @ score.T)[:, ::-1]  # by rising cost
    cost = np.maximum.accumulate((weights @ cost_usd.T)[:, ::-1], axis=1)
    return np.array([np.interp(at_cost_usd, c, q) for c, q in zip(cost, quality, strict=True)])
