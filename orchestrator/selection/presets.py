"""Presets: prices on cost chosen by what each is meant for, with what it is expected to come to.

``quality`` is free of pressure: every query goes to the expert that promises most. ``economy`` is the dearest
setting that costs at most a third of the best single expert's price, in 97.5% of bootstrap samples.
``balanced`` is the cheapest setting that is not told apart from the best reachable one: its score is no more
than one standard error of their difference below (the one-standard-error rule; Breiman, Friedman, Olshen and
Stone, *Classification and Regression Trees*, 1984, section 3.4.3, here with the paired error), and by the
forecasts it keeps nine tenths of what the dearest setting promises above the cheapest. The second bound is
what holds where questions are few and the error is large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Prediction
from orchestrator.selection.frontier import ROUNDING, Frontier, find_frontier

ECONOMY_SHARE = 1 / 3  # of the best single expert's price
STANDARD_ERRORS = 1.0  # by which "balanced" may score below the best setting
KEPT_RISE = 0.9  # of what the dearest setting promises above the cheapest, at least
REPLICATES = 200
INTERVAL = (2.5, 97.5)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Expectation:
    """What a query is expected to cost and to score, each with its 95% interval."""

    cost_usd: float
    cost_low_usd: float
    cost_high_usd: float
    success: float
    success_low: float
    success_high: float


@dataclass(frozen=True)
class Preset:
    """A multiplier under a name. Nothing is expected of those of routers saved earlier."""

    multiplier: float
    expected: Expectation | None = None

    def to_json(self) -> dict[str, Any]:
        """For a router's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: float | Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` made, or the bare multiplier of a router saved earlier."""
        if not isinstance(saved, Mapping):
            return cls(float(saved))
        expected = saved["expected"]
        return cls(float(saved["multiplier"]), Expectation(**expected) if expected else None)


def choose_presets(
    prediction: Prediction, score: NDArray[np.floating], cost_usd: Floats, *, seed: int = 0
) -> dict[str, Preset]:
    """Choose the presets by the outcomes of questions that the predictions were not learned from.

    Args:
        prediction: [n, m] expected on the questions.
        score: [n, m] scored on them; where it is NaN the expectation stands in.
        cost_usd: [n, m] paid, likewise.
        seed: of the bootstrap.
    """
    score = np.where(np.isfinite(score), score, prediction.success)
    cost_usd = np.where(np.isfinite(cost_usd), cost_usd, prediction.cost_usd)
    frontier = find_frontier(prediction.success, prediction.cost_usd)
    settings = frontier.thin()
    best_single = int(np.lexsort((cost_usd.mean(axis=0), -score.mean(axis=0)))[0])
    earned, spent, single = [], [], []
    for weights in _draw(len(score), seed):
        earned.append(frontier.mean_of(score, weights)[0, settings])
        spent.append(frontier.mean_of(cost_usd, weights)[0, settings])
        single.append(float(weights[0] @ cost_usd[:, best_single] / weights.sum()))
    quality, price, single_price = np.array(earned), np.array(spent), np.array(single)[:, None]
    balanced = _not_told_from_best(quality, frontier.success[settings])
    economy = max(_within_share(price, single_price), balanced)
    chosen = {"quality": 0, "balanced": balanced, "economy": economy}
    return {
        name: Preset(_multiplier(frontier, int(settings[at])), _expect(price[:, at], quality[:, at]))
        for name, at in chosen.items()
    }


def _draw(n: int, seed: int) -> list[Floats]:
    """Weights [1, n] of the questions: all alike, then bootstrap samples."""
    rng = np.random.default_rng(seed)
    drawn = (rng.multinomial(n, np.full(n, 1 / n)) for _ in range(REPLICATES))
    return [np.ones((1, n)), *(counts[None].astype(float) for counts in drawn)]


def _not_told_from_best(quality: Floats, promised: Floats) -> int:
    """The cheapest setting of [1 + replicates, settings] that the intervals do not tell from the best."""
    best = int(quality[0].argmax())
    behind = quality[:, [best]] - quality
    close = behind[0] <= STANDARD_ERRORS * behind[1:].std(axis=0)
    rise = promised[0] - promised[-1]
    close &= promised >= promised[-1] + KEPT_RISE * rise - 1e-12
    return int(np.flatnonzero(close)[-1]) if close.any() else best


def _within_share(price: Floats, single_price: Floats) -> int:
    """The dearest setting of [1 + replicates, settings] that keeps to a third; the cheapest if none does."""
    held = np.percentile(price - ECONOMY_SHARE * single_price, INTERVAL[1], axis=0) <= 0
    return int(held.argmax()) if held.any() else len(held) - 1


def _multiplier(frontier: Frontier, setting: int) -> float:
    """Inside the setting; beyond its beginning where it is the last, which has no end."""
    if 0 < setting == len(frontier.multipliers) - 1:
        return float(frontier.multipliers[setting] * (1 + ROUNDING))
    return float(frontier.inside(np.array([setting]))[0])


def _expect(price: Floats, quality: Floats) -> Expectation:
    """From [1 + replicates], of which the first is the sample itself."""
    (low, high), (worst, best) = (np.percentile(values, INTERVAL) for values in (price, quality))
    return Expectation(*map(float, (price[0], low, high, quality[0], worst, best)))
