"""Train a router on what the warehouse holds, and choose its price on cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.asking.learn import learn_habits
from orchestrator.asking.readings import Readings
from orchestrator.policy import Orchestrator
from orchestrator.predictors.base import Prediction, Predictor, squared_loss
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.cross_fitting import cross_forecasts
from orchestrator.predictors.knn import mean_scores
from orchestrator.predictors.registry import DEFAULT_PREDICTOR, build_predictor
from orchestrator.selection.presets import choose_presets
from orchestrator.text.queries import Examples, read_queries
from orchestrator.text.registry import DEFAULT_EMBEDDER, load_embedder
from orchestrator.text.splits import frozen_split, thin
from orchestrator.traffic.bills import Bills, CostLesson, learn_costs
from orchestrator.traffic.labels import TrafficLabels
from orchestrator.traffic.learn import describe_lesson, learn_if_proven
from warehouse import InputError, Outcomes, TooFewError, text_keys

TRAFFIC = "traffic"  # source of questions that were made of requests
#: Settings, forecasts of cost and presets are learned from so many questions at most; what is remembered of
#: success, from all. From ten times as many they come out alike, at ten times the price.
SETTINGS_QUESTIONS = 50_000
FEWEST_WITHOUT_TRAFFIC = 100  # questions on which a router can be trained without those


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


def name_training_data(
    outcomes: Outcomes, traffic: TrafficLabels | None = None, bills: Bills | None = None
) -> str:
    """Return a name for what a router was trained on: a hash of the outcomes, of the labels, of the bills."""
    told = [part.fingerprint() for part in (traffic, bills) if part is not None and len(part)]
    return "+".join([outcomes.fingerprint(), *told])


def train_router(
    outcomes: Outcomes,
    *,
    embedder: str = DEFAULT_EMBEDDER,
    predictor: str = DEFAULT_PREDICTOR,
    seed: int = 0,
    cache_dir: Path | None = None,
    readings: Readings | None = None,
    traffic: TrafficLabels | None = None,
    bills: Bills | None = None,
) -> TrainedRouter:
    """Fit on the frozen train part, choose settings on validation and presets by folds, learn again from all.

    Of more than ``SETTINGS_QUESTIONS`` questions a draw chooses the settings, costs and presets.

    The frozen test part (a fifth of the questions, by hash of the prompt) is never looked at: it is what
    versions are compared on.

    Args:
        outcomes: the pool's.
        embedder: name for :func:`load_embedder`.
        predictor: kind of predictor.
        seed: of folds and draws.
        cache_dir: where embeddings are kept, if anywhere.
        readings: what the answers say, over the same questions: from these it learns to ask several experts.
        traffic: labels on served requests, of ``embedder``'s embeddings and the experts in the outcomes'
            order. Outcomes of source "traffic" are then left to them, where enough others remain: a judge's
            score is a label with noise, not the truth.
        bills: what served answers cost, of the experts in the outcomes' order: forecasts of cost follow them
            where that foretells later bills better.

    Raises:
        TooFewError: no expert has an answer, or there are too few questions.
        InputError: the labels are of other experts.
    """
    if traffic is not None and traffic.experts != outcomes.experts:
        raise InputError(
            "the labels on traffic are of other experts than the outcomes",
            where=", ".join(traffic.experts),
            fix=f"read them for {', '.join(outcomes.experts)}",
        )
    answered = np.flatnonzero(np.isfinite(outcomes.score).any(axis=1))
    readings = readings.take(answered) if readings else None
    outcomes = outcomes.answered()
    fingerprint = name_training_data(outcomes, traffic, bills)
    if traffic is not None and len(traffic):
        benchmark = np.flatnonzero(outcomes.sources != TRAFFIC)
        if len(benchmark) >= FEWEST_WITHOUT_TRAFFIC:
            outcomes, readings = outcomes.take(benchmark), readings.take(benchmark) if readings else None
    split = frozen_split(outcomes.prompts)
    if min(map(len, (split.train, split.validation))) < 5:
        raise TooFewError(
            f"{len(outcomes)} answered questions are too few to train on",
            fix="answer at least 50, better 500",
        )
    reader = load_embedder(embedder, cache_dir=cache_dir)
    everything = Examples(read_queries(outcomes.texts, reader), outcomes)
    seen = np.sort(np.concatenate([split.train, split.validation]))
    drawn = thin(seen, np.isfinite(outcomes.score), SETTINGS_QUESTIONS, seed=seed)
    train, validation = (
        everything.take(np.intersect1d(part, drawn)) for part in (split.train, split.validation)
    )
    fitted = build_predictor(predictor).fit(train, validation, seed=seed)
    cost = CostPredictor().fit(train, validation)
    validation_loss = squared_loss(fitted.predict(validation.queries), validation.outcomes.score)
    judged = everything.take(drawn)
    success = cross_forecasts(fitted, judged, seed=seed)
    unseen = Prediction(fitted.experts, success, cost.predict(judged.queries))
    presets = choose_presets(
        unseen,
        judged.outcomes.score,
        judged.outcomes.cost_usd,
        groups=text_keys(judged.outcomes.prompts),
        seed=seed,
    )
    learned = judged if len(drawn) == len(seen) else everything.take(seen)
    info: dict[str, Any] = {
        "experts": list(fitted.experts),
        "predictor": predictor,
        "embedder": embedder,
        "seed": seed,
        "questions": len(outcomes),
        "sources": sorted(set(outcomes.sources.tolist())),
        "training_data": fingerprint,
        "mean_score": {
            name: float(mean)
            for name, mean in zip(outcomes.experts, mean_scores(learned.outcomes.score), strict=True)
        },
        "mean_cost_usd": {
            name: float(np.nanmean(own)) if np.isfinite(own).any() else None
            for name, own in zip(outcomes.experts, learned.outcomes.cost_usd.T, strict=True)
        },
    }
    habits = None
    if readings:
        habits = learn_habits(
            unseen, readings.take(drawn), judged.outcomes.score, judged.outcomes.cost_usd, seed=seed
        )
    predictor_served: Predictor = fitted.refit(learned)
    if traffic is not None:
        lesson = learn_if_proven(fitted, learned.queries, traffic)
        predictor_served = lesson.predictor if lesson else fitted
        info["traffic"] = describe_lesson(traffic, lesson)
    if bills is not None and len(bills):
        info["bills"] = _follow_bills(cost, bills).describe(cost.experts)
    orchestrator = Orchestrator(
        # requests do not repeat: the served embedder keeps no cache
        embedder=load_embedder(embedder),
        predictor=predictor_served,
        cost=cost,
        multiplier=presets["balanced"].multiplier,
        presets=presets,
        info=info,
        habits=habits,
    )
    expected = presets["balanced"].expected
    metrics = {"validation_squared_loss": validation_loss}
    if expected is not None:
        metrics |= {"validation_accuracy": expected.success, "validation_cost_usd": expected.cost_usd}
    return TrainedRouter(orchestrator, metrics)


def _follow_bills(cost: CostPredictor, bills: Bills) -> CostLesson:
    """Put forecasts of cost right by what served answers cost."""
    lesson = learn_costs(cost, bills)
    billed = np.full((len(bills), len(cost.experts)), np.nan)
    billed[np.arange(len(bills)), bills.expert] = bills.cost_usd
    if lesson.proven.any():
        cost.rescale(lesson.ratio, bills.queries, billed)
    return lesson
