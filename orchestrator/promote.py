"""Put a challenger to the test against the champion, and promote it only if it wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator import metrics
from orchestrator.embedding import load_embedder
from orchestrator.evaluate import multiplier_grid, points_of
from orchestrator.policy import Orchestrator
from orchestrator.queries import read_queries
from orchestrator.registry import champion_version, find_version, load_version, set_champion
from orchestrator.selector import select_at_multiplier
from orchestrator.splits import frozen_split
from warehouse import InputError, Outcomes


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion in AIQ over log cost, on held-out questions."""

    difference: float
    low: float  # 95% interval, paired bootstrap over questions
    high: float
    questions: int

    @property
    def won(self) -> bool:
        """The whole interval lies above 0."""
        return self.low > 0

    def __str__(self) -> str:
        return (
            f"{100 * self.difference:+.2f} points [{100 * self.low:+.2f}, {100 * self.high:+.2f}] of "
            f"accuracy, averaged over log cost, on {self.questions:,} held-out questions"
        )


@dataclass(frozen=True)
class Promotion:
    """What came of a promotion. ``comparison`` is None when there was no champion to beat."""

    version: str
    promoted: bool
    former: str | None
    comparison: Comparison | None


def promote(
    tracking_uri: str,
    version: str,
    outcomes: Outcomes,
    *,
    force: bool = False,
    reason: str = "",
    cache_dir: Path | None = None,
) -> Promotion:
    """Make ``version`` champion if it beats the champion on the questions that neither was trained on.

    With ``force`` it becomes champion whatever the test says, and a note tells so. Without a champion there
    is nothing to beat.

    Raises:
        InputError: no such version, or too few held-out questions that all experts of both pools answered.
    """
    version = find_version(tracking_uri, version)
    challenger = load_version(tracking_uri, version)
    former = champion_version(tracking_uri)
    if former is None:
        set_champion(tracking_uri, version, note=reason or "first champion")
        return Promotion(version, True, None, None)
    champion = load_version(tracking_uri, former)
    comparison = compare_routers(challenger, champion, outcomes, cache_dir=cache_dir)
    if comparison.won or force:
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        verdict = "won" if comparison.won else "forced"
        note = f"{verdict} against version {former} at {stamp}: {comparison}" + (
            f"; {reason}" if reason else ""
        )
        set_champion(tracking_uri, version, note=note)
    return Promotion(version, comparison.won or force, former, comparison)


def compare_routers(
    challenger: Orchestrator,
    champion: Orchestrator,
    outcomes: Outcomes,
    *,
    replicates: int = 1000,
    cache_dir: Path | None = None,
) -> Comparison:
    """Compare two routers on the frozen test part of the outcomes, over the whole range of prices.

    Their pools may differ: costs run from the cheapest to the dearest expert of both.
    """
    names = list(dict.fromkeys([*champion.experts, *challenger.experts]))
    absent = [name for name in names if name not in outcomes.experts]
    if absent:
        raise InputError(
            f"no outcomes are at hand for {', '.join(absent)}",
            fix="include these experts' answers in the comparison",
        )
    outcomes = outcomes.only(names)
    test = frozen_split(outcomes.texts).test
    complete = np.asarray(np.isfinite(outcomes.score + outcomes.cost_usd).all(axis=1))
    held_out = outcomes.take(test[complete[test]])
    if len(held_out) < 20:
        raise InputError(
            f"only {len(held_out)} held-out questions were answered by all of {', '.join(names)}",
            fix="let them answer more of the same questions (at least 20 held out, better 500)",
        )
    curves = [_curve(router, held_out, cache_dir) for router in (challenger, champion)]
    weights = np.vstack([np.ones(len(held_out)), metrics.question_weights(len(held_out), replicates, seed=0)])
    weights /= weights.sum(axis=1, keepdims=True)
    single_score, single_cost = weights @ held_out.score, weights @ held_out.cost_usd
    values = [
        np.array(
            [
                metrics.aiq(c, q, sc, sq, log_cost=True)
                for c, q, sc, sq in zip(
                    weights @ cost.T, weights @ score.T, single_cost, single_score, strict=True
                )
            ]
        )
        for score, cost in curves
    ]
    difference = values[0] - values[1]
    low, high = metrics.interval(difference[1:])
    return Comparison(float(difference[0]), low, high, len(held_out))


def _curve(
    router: Orchestrator, outcomes: Outcomes, cache_dir: Path | None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Score and cost [settings, n] of a router over its multipliers."""
    queries = read_queries(outcomes.texts, load_embedder(router.embedder.name, cache_dir=cache_dir))
    success, cost = router.predictor.predict(queries), router.cost.predict(queries)
    choice = np.stack([select_at_multiplier(success, cost, x) for x in multiplier_grid(success, cost)])
    points = points_of(choice, *_columns(outcomes, router.experts))
    return points.score, points.cost_usd


def _columns(outcomes: Outcomes, experts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    own = outcomes.only(experts)
    return own.score, own.cost_usd
