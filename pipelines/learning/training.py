"""Train a router on a pool's outcomes, judge it, keep it in MLflow as a version, and put it to the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from warehouse import Outcomes
from warehouse.home import Home
from warehouse.mlflow_store import open_store

if TYPE_CHECKING:
    from orchestrator.evaluation.report import EvaluationReport
    from orchestrator.selection.presets import Preset
    from orchestrator.traffic.bills import Bills
    from orchestrator.traffic.labels import TrafficLabels

#: Questions answered by all experts that an evaluation over splits needs.
MIN_EVALUATED = 50


@dataclass(frozen=True)
class TrainingResult:
    """A registered router version, and what it was found to be worth where there were answers enough."""

    version: str
    report: EvaluationReport | None
    is_new: bool = True  # False where the same training had been registered before; it is not evaluated again
    presets: Mapping[str, Preset] = field(default_factory=dict)  # of a new version


def train_version(
    outcomes: Outcomes,
    home: Home,
    *,
    predictor: str,
    embedder: str,
    seeds: int = 5,
    seed: int = 0,
    traffic: TrafficLabels | None = None,
    bills: Bills | None = None,
    on_progress: Callable[[str, float], None] = lambda step, share: None,
) -> TrainingResult:
    """Evaluate by cross-splits, train on all but the frozen part, and register.

    Labels on served requests (``traffic``) and what these cost (``bills``), both of the outcomes' experts in
    their order, correct what was learned from outcomes; see :func:`orchestrator.train.train_router`.

    Answers that were not asked for are filled in by what is expected of them
    (:func:`orchestrator.selection.explorer.complete_scores`), for training alone. Many texts without a
    vector are embedded on the cluster first (:func:`pipelines.learning.bulk_embedding.embed_in_bulk`). Of
    more than ``SETTINGS_QUESTIONS`` questions a draw is evaluated. Logs to the active MLflow run where there
    is one. What was trained on the same data with the same settings before stands; nothing is done again
    then. ``on_progress`` is called with what comes next and the share of the work that is done.
    """
    from orchestrator.evaluation.evaluate import evaluate_router
    from orchestrator.text.splits import frozen_split, thin
    from orchestrator.train import SETTINGS_QUESTIONS, name_training_data, train_router
    from orchestrator.versions.mlflow_registry import log_version
    from pipelines.learning.bulk_embedding import embed_in_bulk
    from pipelines.learning.pool_outcomes import load_readings

    open_store(home.mlflow_uri)  # no hour of work for a version that cannot be kept
    split = frozen_split(outcomes.prompts)
    learned = outcomes.take(np.sort(np.concatenate([split.train, split.validation]))).answered()
    readings = load_readings(home, learned)  # of what was answered, before the rest is filled in
    embed_in_bulk(outcomes.texts, embedder, home.embeddings)
    learned = complete_outcomes(learned, embedder, home.embeddings)
    data = name_training_data(learned, traffic, bills)
    known = _find_trained(data, learned.experts, home, predictor=predictor, embedder=embedder, seed=seed)
    if known is not None:
        return TrainingResult(known, None, is_new=False)
    report = None
    if np.isfinite(outcomes.score + outcomes.cost_usd).all(axis=1).sum() >= MIN_EVALUATED:
        everything = np.arange(len(outcomes))
        drawn = thin(everything, np.isfinite(outcomes.score), SETTINGS_QUESTIONS, seed=seed)
        report = evaluate_router(
            outcomes if len(drawn) == len(outcomes) else outcomes.take(drawn),
            predictors=(predictor,),
            embedder=embedder,
            seeds=seeds,
            cache_dir=home.embeddings,
            on_progress=lambda step, share: on_progress(f"evaluating, {step}", share * seeds / (seeds + 1)),
        )
        on_progress("training on all of it", seeds / (seeds + 1))
    trained = train_router(
        learned,
        embedder=embedder,
        predictor=predictor,
        seed=seed,
        cache_dir=home.embeddings,
        readings=readings,
        traffic=traffic,
        bills=bills,
    )
    version = log_version(
        trained.orchestrator,
        report,
        tracking_uri=home.mlflow_uri,
        metrics=trained.metrics,
        run_name=f"train {predictor}",
    )
    return TrainingResult(version, report, presets=trained.orchestrator.presets)


def _find_trained(
    data: str, experts: Sequence[str], home: Home, *, predictor: str, embedder: str, seed: int
) -> str | None:
    """The version that was trained on these data with these settings, if there is one."""
    from orchestrator.versions.mlflow_registry import versions

    wanted = (data, predictor, embedder, seed, set(experts))
    for known in versions(home.mlflow_uri):
        if wanted == (
            known.training_data, known.predictor, known.embedder, known.seed, set(known.pool)
        ):  # fmt: skip
            return known.version
    return None


def complete_outcomes(outcomes: Outcomes, embedder: str, cache_dir: Path | None) -> Outcomes:
    """Return the outcomes with expected scores where no answer was asked for; as they are if none lacks."""
    from orchestrator import load_embedder, read_queries
    from orchestrator.selection.explorer import complete_scores, group_questions

    if np.isfinite(outcomes.score).all():
        return outcomes
    queries = read_queries(outcomes.texts, load_embedder(embedder, cache_dir=cache_dir))
    groupings = group_questions(queries, outcomes.domains)
    return replace(outcomes, score=complete_scores(groupings, outcomes.score))
