"""Train a router on what the warehouse holds, and choose its price on cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.habits import Habits
from orchestrator.asking.learn import learn_habits
from orchestrator.asking.readings import Readings
from orchestrator.policy import Orchestrator
from orchestrator.predictors.base import Prediction, Predictor, squared_loss
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.cross_fitting import cross_forecasts
from orchestrator.predictors.knn import mean_scores
from orchestrator.predictors.registry import DEFAULT_PREDICTOR, build_predictor
from orchestrator.selection.frontier import find_frontier
from orchestrator.text.queries import Examples, read_queries
from orchestrator.text.registry import DEFAULT_EMBEDDER, load_embedder
from orchestrator.text.splits import frozen_split
from warehouse import Outcomes, TooFewError

ECONOMY_SHARE = 0.25  # the preset "economy" spends at most this share of the best single expert's price


@dataclass(frozen=True)
class TrainedRouter:
    """An orchestrator and what its validation questions said of it."""

    orchestrator: Orchestrator
    metrics: dict[str, float]


def check_router_settings(predictors: Sequence[str], embedder: str) -> None:
    """See that a router can be made of these, before anything is read, asked or paid for.

    Raises:
        InputError: no predictor or embedder has that name.
        CannotRunError: the package with the embedder's weights is missing.
    """
    for kind in predictors:
        build_predictor(kind)
    load_embedder(embedder)


def train_router(
    outcomes: Outcomes,
    *,
    embedder: str = DEFAULT_EMBEDDER,
    predictor: str = DEFAULT_PREDICTOR,
    seed: int = 0,
    cache_dir: Path | None = None,
    readings: Readings | None = None,
) -> TrainedRouter:
    """Fit on the frozen train part, choose settings and presets on validation, learn again from both.

    The frozen test part (a fifth of the questions, by hash of the prompt) is never looked at: it is what
    versions are compared on.

    Args:
        outcomes: the pool's.
        embedder: name for :func:`load_embedder`.
        predictor: kind of predictor.
        seed: of folds and draws.
        cache_dir: where embeddings are kept, if anywhere.
        readings: what the answers say, over the same questions: from these it learns to ask several experts.

    Raises:
        TooFewError: no expert has an answer, or there are too few questions.
    """
    answered = np.flatnonzero(np.isfinite(outcomes.score).any(axis=1))
    readings = readings.take(answered) if readings else None
    outcomes = outcomes.answered()
    split = frozen_split(outcomes.prompts)
    if min(map(len, (split.train, split.validation))) < 5:
        raise TooFewError(
            f"{len(outcomes)} answered questions are too few to train on",
            fix="answer at least 50, better 500",
        )
    reader = load_embedder(embedder, cache_dir=cache_dir)
    everything = Examples(read_queries(outcomes.texts, reader), outcomes)
    train, validation = everything.take(split.train), everything.take(split.validation)
    fitted = build_predictor(predictor).fit(train, validation, seed=seed)
    cost = CostPredictor().fit(train, validation)
    prediction = Prediction(
        fitted.experts, fitted.predict(validation.queries), cost.predict(validation.queries)
    )
    seen = np.sort(np.concatenate([split.train, split.validation]))
    learned = everything.take(seen)
    presets, chosen = choose_presets(prediction, validation.outcomes)
    info: dict[str, Any] = {
        "experts": list(fitted.experts),
        "predictor": predictor,
        "embedder": embedder,
        "seed": seed,
        "questions": len(outcomes),
        "sources": sorted(set(outcomes.sources.tolist())),
        "training_data": outcomes.fingerprint(),
        "mean_score": {
            name: float(mean)
            for name, mean in zip(outcomes.experts, mean_scores(learned.outcomes.score), strict=True)
        },
        "mean_cost_usd": {
            name: float(np.nanmean(own)) if np.isfinite(own).any() else None
            for name, own in zip(outcomes.experts, learned.outcomes.cost_usd.T, strict=True)
        },
    }
    habits = _learn_habits(fitted, cost, learned, readings.take(seen), seed) if readings else None
    fitted.refit(learned)
    chosen["validation_squared_loss"] = squared_loss(prediction.success, validation.outcomes.score)
    orchestrator = Orchestrator(
        # requests do not repeat: the served embedder keeps no cache
        embedder=load_embedder(embedder),
        predictor=fitted,
        cost=cost,
        multiplier=presets["balanced"],
        presets=presets,
        info=info,
        habits=habits,
    )
    return TrainedRouter(orchestrator, chosen)


def _learn_habits(
    fitted: Predictor, cost: CostPredictor, learned: Examples, readings: Readings, seed: int
) -> Habits:
    """What the answers say of each other, beyond what a router that has not seen the question expects."""
    success = cross_forecasts(fitted, learned, seed=seed)
    forecast = Prediction(fitted.experts, success, cost.predict(learned.queries))
    outcomes = learned.outcomes
    return learn_habits(forecast, readings, outcomes.score, outcomes.cost_usd, seed=seed)


def choose_presets(prediction: Prediction, outcomes: Outcomes) -> tuple[dict[str, float], dict[str, float]]:
    """Choose the prices on cost behind the presets, on questions the predictor has not learned from.

    ``quality`` is free of cost; ``balanced`` is the highest price at which accuracy is no lower than the best
    single expert's (else the most accurate price); ``cost`` keeps within a quarter of that expert's cost.
    """
    score = np.where(np.isfinite(outcomes.score), outcomes.score, prediction.success)
    cost = np.where(np.isfinite(outcomes.cost_usd), outcomes.cost_usd, prediction.cost_usd)
    frontier = find_frontier(prediction.success, prediction.cost_usd)
    grid = frontier.inside(np.arange(len(frontier.multipliers)))
    accuracy, spend = frontier.mean_of(score), frontier.mean_of(cost)
    best = int(score.mean(axis=0).argmax())
    best_accuracy, best_cost = float(score[:, best].mean()), float(cost[:, best].mean())
    finite = np.isfinite(grid)
    balanced = _last(
        finite & (accuracy >= best_accuracy), otherwise=int(np.where(finite, accuracy, -1).argmax())
    )
    frugal = _first(finite & (spend <= ECONOMY_SHARE * best_cost), otherwise=int(np.where(finite)[0][-1]))
    figures = {
        "validation_best_single_accuracy": best_accuracy,
        "validation_best_single_cost_usd": best_cost,
        "validation_accuracy": float(accuracy[balanced]),
        "validation_cost_usd": float(spend[balanced]),
    }
    presets = {
        "quality": 0.0,
        "balanced": float(grid[balanced]),
        "economy": float(max(grid[frugal], grid[balanced])),
    }
    return presets, figures


def _first(mask: NDArray[np.bool_], *, otherwise: int) -> int:
    return int(mask.argmax()) if mask.any() else otherwise


def _last(mask: NDArray[np.bool_], *, otherwise: int) -> int:
    return len(mask) - 1 - int(mask[::-1].argmax()) if mask.any() else otherwise
