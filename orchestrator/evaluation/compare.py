"""Compare trained routers on questions that none of them has learned from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orchestrator.evaluation import metrics
from orchestrator.evaluation.calibration import calibrate
from orchestrator.evaluation.latency import measure_latency
from orchestrator.evaluation.report import EvaluationReport
from orchestrator.evaluation.seed_result import SeedResult
from orchestrator.evaluation.summary import summarise
from orchestrator.policy import Orchestrator
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.sweep import PolicyPoints, points_of
from orchestrator.text.queries import read_queries
from orchestrator.text.registry import load_embedder
from orchestrator.text.splits import frozen_split
from warehouse import NotReadyError, Outcomes, TooFewError

MIN_QUESTIONS = 20


def compare_routers(
    routers: Mapping[str, Orchestrator],
    outcomes: Outcomes,
    *,
    replicates: int = 1000,
    cache_dir: Path | None = None,
) -> EvaluationReport:
    """Measure routers over the whole range of prices, on the frozen test part of the outcomes.

    Their pools may differ: costs run from the cheapest to the dearest expert of all pools together. Every
    difference between two rows of the report is paired over the questions.

    Args:
        routers: by the name of their row in the report.
        outcomes: questions with answers of every expert in any of the pools.
        replicates: bootstrap samples behind the intervals.
        cache_dir: where embeddings are kept, if anywhere.

    Raises:
        NotReadyError: outcomes of an expert are lacking.
        TooFewError: too few held-out questions that all answered.
    """
    names = list(dict.fromkeys(name for router in routers.values() for name in router.experts))
    absent = [name for name in names if name not in outcomes.experts]
    if absent:
        raise NotReadyError(
            f"no outcomes are at hand for {', '.join(absent)}",
            fix="include these experts' answers in the comparison",
        )
    outcomes = outcomes.only(names)
    split = frozen_split(outcomes.prompts)
    complete = np.asarray(np.isfinite(outcomes.score + outcomes.cost_usd).all(axis=1))
    test = split.test[complete[split.test]]
    if len(test) < MIN_QUESTIONS:
        raise TooFewError(
            f"only {len(test)} held-out questions were answered by all of {', '.join(names)}",
            fix=f"let them answer more of the same questions (at least {MIN_QUESTIONS} held out, better 500)",
        )
    seen = np.concatenate([split.train, split.validation])
    if not complete[seen].any():
        seen = test
    result = SeedResult.of_plain_policies(outcomes, test, seen)
    held_out = outcomes.take(test)
    calibration = {}
    for name, router in routers.items():
        result.test[name], success = sweep_router(router, held_out, cache_dir)
        own = held_out.only(router.experts)
        calibration[name] = calibrate([(success.astype(float), own.score.astype(float))], own.experts)
    return summarise(
        outcomes,
        [result],
        metrics.question_weights(len(outcomes), replicates, seed=0),
        predictors=tuple(routers),
        budgets=(),
        calibration=calibration,
        latency={name: measure_latency(router.decide, held_out.texts) for name, router in routers.items()},
        settings={"split": "frozen", "replicates": replicates},
    )


def sweep_router(
    router: Orchestrator, outcomes: Outcomes, cache_dir: Path | None
) -> tuple[PolicyPoints, np.ndarray]:
    """What a router scores and costs at each of its multipliers, by rising price on cost; and its predicted
    success. The outcomes may have experts beyond the router's.
    """
    queries = read_queries(outcomes.texts, load_embedder(router.embedder.name, cache_dir=cache_dir))
    success, cost = router.predictor.predict(queries), router.cost.predict(queries)
    frontier = find_frontier(success, cost)
    choice = frontier.choose(frontier.settings())
    columns = np.array([outcomes.experts.index(name) for name in router.experts])
    return points_of(columns[choice], outcomes.score, outcomes.cost_usd), success
