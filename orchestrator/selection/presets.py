"""Presets: prices on cost, each chosen for a purpose, with its expected cost and score.

``quality`` ignores cost: every query goes to the expert with the highest expected success. ``economy`` is
the dearest setting that costs at most a third of the best single expert's price, in 97.5% of bootstrap
samples. ``balanced`` is the cheapest setting that cannot be distinguished from the best reachable one: its
score is at most one standard error of their difference below (the one-standard-error rule; Breiman,
Friedman, Olshen and Stone, *Classification and Regression Trees*, 1984, section 3.4.3, here with the paired
error), in the median of bootstrap samples; and it keeps nine tenths of the forecast gain of the dearest
setting over the cheapest. The second condition matters if questions are few and the error is large.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Prediction
from orchestrator.predictors.states import Fields
from orchestrator.selection.frontier import ROUNDING, Frontier, find_frontier

ECONOMY_SHARE = 1 / 3  # of the best single expert's price
STANDARD_ERRORS = 1.0  # by which "balanced" may score below the best setting
KEPT_RISE = 0.9  # of what the dearest setting promises above the cheapest, at least
SETTINGS = 300  # of the frontier that are looked at
REPLICATES = 200
BLOCK = 25  # of them at once
INTERVAL = (2.5, 97.5)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Expectation:
    """The expected cost and score of a query, each with its 95% interval."""

    cost_usd: float
    cost_low_usd: float
    cost_high_usd: float
    success: float
    success_low: float
    success_high: float


@dataclass(frozen=True)
class Preset:
    """A named multiplier. Presets of routers saved by earlier versions have no expectation."""

    multiplier: float
    expected: Expectation | None = None

    def to_json(self) -> dict[str, Any]:
        """For a router's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: float | Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` made, or the bare multiplier of a router saved earlier.

        A preset decides by its multiplier; an expectation of other figures than these is left out.

        Raises:
            InputError: it has no multiplier.
        """
        if not isinstance(saved, Mapping):
            return cls(float(saved))
        preset = Fields(saved, "a preset of the saved router")
        expected = preset.get("expected") or {}
        known = {one.name for one in fields(Expectation)}
        return cls(float(preset["multiplier"]), Expectation(**expected) if set(expected) == known else None)


def choose_presets(
    prediction: Prediction,
    score: NDArray[np.floating],
    cost_usd: Floats,
    *,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> dict[str, Preset]:
    """Choose the presets on questions that the predictions were not learned from.

    Args:
        prediction: [n, m] predictions for the questions.
        score: [n, m] their scores; NaN is replaced by the prediction.
        cost_usd: [n, m] their costs, likewise.
        groups: [n] labels of questions that the bootstrap draws together, such as the prompt; none by
            default.
        seed: of the bootstrap.
    """
    score = np.where(np.isfinite(score), score, prediction.success)
    cost_usd = np.where(np.isfinite(cost_usd), cost_usd, prediction.cost_usd)
    frontier = find_frontier(prediction.success, prediction.cost_usd)
    settings = frontier.thin(SETTINGS)
    best_single = int(np.lexsort((cost_usd.mean(axis=0), -score.mean(axis=0)))[0])
    earned, spent, single = [], [], []
    for weights in _draw(np.arange(len(score)) if groups is None else groups, seed):
        earned.append(frontier.mean_of(score, weights)[:, settings])
        spent.append(frontier.mean_of(cost_usd, weights)[:, settings])
        single.append(weights @ cost_usd[:, best_single] / weights.sum(axis=1))
    quality, price, single_price = (np.concatenate(parts) for parts in (earned, spent, single))
    balanced = _not_told_from_best(quality, frontier.success[settings])
    economy = _within_share(price, single_price)
    chosen = {
        "quality": np.zeros(len(quality), int),
        "balanced": balanced,
        "economy": np.maximum(economy, balanced[0]),
    }
    return {
        name: Preset(_multiplier(frontier, int(settings[at[0]])), _expect(price, quality, at))
        for name, at in chosen.items()
    }


def _draw(groups: NDArray[Any], seed: int) -> Iterator[Floats]:
    """Weights [r, n] of the questions, some at a time: all alike, then bootstrap samples of the groups."""
    rng = np.random.default_rng(seed)
    unique, members = np.unique(groups, return_inverse=True)
    yield np.ones((1, len(members)))
    count = len(unique)
    for _ in range(0, REPLICATES, BLOCK):
        drawn = [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(BLOCK)]
        yield np.array(drawn)[:, members.ravel()].astype(np.float64)


def _not_told_from_best(quality: Floats, promised: Floats) -> NDArray[np.intp]:
    """Of every sample [1 + replicates] the cheapest setting that is not told from the best; of the first, the
    median of the others.
    """
    rows = np.arange(len(quality))
    best = quality.argmax(axis=1)
    behind = quality[rows, best][:, None] - quality
    error = (quality[1:, [best[0]]] - quality[1:]).std(axis=0)
    rise = promised[0] - promised[-1]
    close = (behind <= STANDARD_ERRORS * error) & (promised >= promised[-1] + KEPT_RISE * rise - 1e-12)
    found = np.where(close.any(axis=1), quality.shape[1] - 1 - close[:, ::-1].argmax(axis=1), best)
    found[0] = np.median(found[1:]).astype(int)
    return found


def _within_share(price: Floats, single_price: Floats) -> NDArray[np.intp]:
    """Of every sample [1 + replicates] the dearest setting that costs at most a third of the best single
    expert's price, else the cheapest; of the first, the dearest that keeps to it in 97.5% of the others.
    """
    within = price <= ECONOMY_SHARE * single_price[:, None]
    within[0] = np.mean(within[1:], axis=0) >= INTERVAL[1] / 100
    return np.where(within.any(axis=1), within.argmax(axis=1), price.shape[1] - 1)


def _multiplier(frontier: Frontier, setting: int) -> float:
    """Inside the setting; beyond its beginning where it is the last, which has no end."""
    if 0 < setting == len(frontier.multipliers) - 1:
        return float(frontier.multipliers[setting] * (1 + ROUNDING))
    return float(frontier.inside(np.array([setting]))[0])


def _expect(price: Floats, quality: Floats, at: NDArray[np.intp]) -> Expectation:
    """From [1 + replicates, settings], the first being the sample itself, at the settings chosen on each.

    A choice is flattered by the sample that it was made on: by as much as choices on replicates show there
    beyond what they show on the sample, over what chance alone shows at one setting (Efron, *Estimating the
    error rate of a prediction rule*, 1983). That is taken off.
    """
    rows = np.arange(1, len(at))
    estimates = []
    for values in (price, quality):
        beyond = values[1:] - values[0]
        flattered = float((beyond[rows - 1, at[1:]] - beyond[:, at[0]]).mean())
        low, high = np.percentile(values[1:, at[0]], INTERVAL)
        estimates += [float(v) - flattered for v in (values[0, at[0]], low, high)]
    return Expectation(*estimates)
