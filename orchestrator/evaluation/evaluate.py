"""Evaluate routing policies on recorded outcomes: every row of the report from one table, all paired.

For each seed the questions are split by text 60/20/20. Policies learn on train, choose every setting on
validation, and are measured on test. One bootstrap over questions, shared by all policies and seeds, gives
the intervals, so that differences between policies are paired.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.readings import Readings
from orchestrator.evaluation import metrics
from orchestrator.evaluation.asking_rows import MATCHED, Forecasts, add_asking_rows, add_matched_random
from orchestrator.evaluation.calibration import calibrate
from orchestrator.evaluation.latency import Latency, measure_latency
from orchestrator.evaluation.report import EvaluationReport
from orchestrator.evaluation.seed_result import SeedResult
from orchestrator.evaluation.summary import summarise
from orchestrator.predictors.base import Prediction, Predictor
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.cross_fitting import cross_forecasts
from orchestrator.predictors.registry import build_predictor
from orchestrator.selection.cascade import Signal, add_cascades, answered_by, choose_cascades
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.selector import select_at_multiplier
from orchestrator.selection.sweep import PolicyPoints, points_of
from orchestrator.step_times import StepTimes
from orchestrator.text.embedder import Embedder
from orchestrator.text.queries import Examples, Queries, read_queries
from orchestrator.text.registry import DEFAULT_EMBEDDER, load_embedder
from orchestrator.text.splits import Split, split_by_text
from warehouse import InputError, Outcomes, TooFewError

PriceBasis = Literal["actual", "flat"]
USD_PER_CORE_HOUR = 0.05  # what a decision's computing is charged at
ASKING_STEPS = 4.0  # what the rows that ask several take, in predictors' worth of time
BUDGETS = (0.25, 0.5, 0.75, 1.0)  # shares of the best single expert's cost

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predicted:
    """A router's predictions for some questions."""

    rows: NDArray[np.intp]  # [n] rows of the outcomes
    success: NDArray[np.float32]  # [n, m]
    cost_usd: Floats  # [n, m]

    def take(self, index: slice | NDArray[np.intp]) -> Predicted:
        """Return some of the questions."""
        return Predicted(self.rows[index], self.success[index], self.cost_usd[index])


@dataclass(frozen=True)
class PredictorRun:
    """One predictor on one split: what it expected, and its points over the multipliers."""

    validation: Predicted  # from before the validation questions were learned from
    test: Predicted
    multipliers: Floats  # [settings]
    decision_usd: float
    validation_points: PolicyPoints
    test_points: PolicyPoints
    cost_model: CostPredictor


def evaluate_router(
    outcomes: Outcomes,
    *,
    predictors: Sequence[str] = ("knn",),
    embedder: str = DEFAULT_EMBEDDER,
    seeds: int = 5,
    price_basis: PriceBasis = "actual",
    budgets: Sequence[float] = BUDGETS,
    replicates: int = 1000,
    cache_dir: Path | None = None,
    build: Callable[[str], Predictor] = build_predictor,
    signals: Sequence[Signal] = (),
    readings: Readings | None = None,
    on_progress: Callable[[str, float], None] = lambda step, share: None,
) -> EvaluationReport:
    """Compare predictors with the plain policies on a pool's outcomes.

    Args:
        outcomes: the pool's questions x experts table; may have missing cells. Questions that every expert
            answered are tested on, the others only help to train.
        predictors: kinds of predictor, each a row of the report.
        embedder: name for :func:`load_embedder`.
        seeds: number of splits.
        price_basis: ``actual`` costs, or ``flat``: every expert at its mean cost per query.
        budgets: shares of the best single expert's mean cost at which accuracy is reported.
        replicates: bootstrap samples behind the intervals.
        cache_dir: where embeddings are kept, if anywhere.
        build: makes an unfitted predictor of a kind.
        readings: what the answers say, over the same questions. They add the rows of the policy as it is
            served (``leeroo``), of its plans assigned to other queries, and of blind policies.
            Without them the last predictor's choices are assigned to other queries.
        signals: add a row of the last predictor with cascades in the pool, which escalate to another expert
            where these signals, over the same questions, say that an answer is not to be relied on.
        on_progress: called with what comes next, and the share of the work that is done, by time.

    Raises:
        InputError: fewer than two experts, or too few questions answered by all of them.
    """
    answered = np.isfinite(outcomes.score).any(axis=1)
    signals = [replace(signal, confidence=signal.confidence[answered]) for signal in signals]
    readings = readings.take(np.flatnonzero(answered)) if readings else None
    outcomes = prepare_outcomes(outcomes, price_basis)
    of_split = [(name, 1.0) for name in predictors]
    of_split += [("cascades", 1.0)] * bool(signals) + [("several", ASKING_STEPS)] * (readings is not None)
    times = StepTimes([("reading", 1.0), *of_split * seeds, ("intervals", 1.0)])

    def begin(step: str) -> None:
        on_progress(step, times.begin())

    begin(f"reading {len(outcomes):,} questions with {embedder}")
    reader = load_embedder(embedder, cache_dir=cache_dir)
    queries = read_queries(outcomes.texts, reader)
    complete = np.asarray(np.isfinite(outcomes.score + outcomes.cost_usd).all(axis=1))
    weights = metrics.question_weights(len(outcomes), replicates, seed=0)
    uncached = load_embedder(embedder)
    embed_s = measure_latency(uncached.embed, outcomes.texts, sample_size=24).p50_s
    per_seed: list[SeedResult] = []
    cascaded, asking = f"{predictors[-1]} + cascade", list[str]()
    calibration: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in predictors}
    latency: dict[str, Latency] = {}
    for seed in range(seeds):
        split = split_by_text(outcomes.prompts, seed=seed)
        test = split.test[complete[split.test]]
        validation = split.validation[complete[split.validation]]
        result = SeedResult.of_plain_policies(outcomes, test, np.concatenate([split.train, split.validation]))
        part = f"split {seed + 1} of {seeds}"
        for name in predictors:
            begin(f"{part}, {name}")
            fitted = build(name)
            run = _run_predictor(fitted, outcomes, queries, split, validation, test, embed_s, seed)
            result.test[name], result.validation[name] = run.test_points, run.validation_points
            calibration[name].append((run.test.success.astype(float), outcomes.score[test].astype(float)))
            if seed == seeds - 1:
                texts = [outcomes.texts[i] for i in test]
                latency[name] = _measure_decisions(uncached, fitted, run.cost_model, texts)
        if signals:
            begin(f"{part}, cascades")
            wide = _run_with_cascades(
                build(predictors[-1]), outcomes, signals, queries, split, validation, test, embed_s, seed
            )
            result.test[cascaded], result.validation[cascaded] = wide.test_points, wide.validation_points
        if readings is not None:
            begin(f"{part}, several experts for one answer")
            forecasts = _cross_fit(fitted, Examples(queries, outcomes), split, run, seed)
            asking = add_asking_rows(result, forecasts, outcomes, readings, validation, seed=seed)
        else:
            add_matched_random(result, predictors[-1], outcomes, validation, run.decision_usd, seed=seed)
            asking = [MATCHED]
        per_seed.append(result)
    begin("intervals")
    return summarise(
        outcomes,
        per_seed,
        weights,
        predictors=[*predictors, *([cascaded] if signals else []), *asking],
        budgets=budgets,
        calibration={name: calibrate(parts, outcomes.experts) for name, parts in calibration.items()},
        latency=latency,
        settings={
            "embedder": embedder,
            "seeds": seeds,
            "price_basis": price_basis,
            "replicates": replicates,
            "embedding_s": embed_s,
            "usd_per_core_hour": USD_PER_CORE_HOUR,
        },
    )


def prepare_outcomes(outcomes: Outcomes, price_basis: PriceBasis) -> Outcomes:
    """Check that a pool can be evaluated and put it on the price basis asked for."""
    if len(outcomes.experts) < 2:
        raise InputError("one expert leaves nothing to route", fix="name at least two experts")
    outcomes = outcomes.answered()
    scored = np.isfinite(outcomes.score).all(axis=1)
    complete = scored & np.isfinite(outcomes.cost_usd).all(axis=1)
    if complete.sum() < 50:
        raise TooFewError(
            f"only {int(complete.sum())} questions were answered by all {len(outcomes.experts)} experts"
            + (f" at a known cost, of {int(scored.sum())} that they answered" if scored.sum() >= 50 else ""),
            fix="evaluate fewer experts, or let these answer more of the same questions (50 at least)",
        )
    if price_basis == "flat":
        mean = outcomes.cost_usd[complete].mean(axis=0)
        outcomes = replace(outcomes, cost_usd=np.where(np.isfinite(outcomes.cost_usd), mean, np.nan))
    return outcomes


def _run_predictor(
    predictor: Predictor,
    outcomes: Outcomes,
    queries: Queries,
    split: Split,
    validation: NDArray[np.intp],
    test: NDArray[np.intp],
    embed_s: float,
    seed: int,
) -> PredictorRun:
    """Fit on train, choose on validation, learn again from both; sweep the multiplier."""
    everything = Examples(queries, outcomes)
    train, held_out = everything.take(split.train), everything.take(split.validation)
    predictor.fit(train, held_out, seed=seed)
    cost_model = CostPredictor().fit(train, held_out)
    before = Predicted(
        validation,
        predictor.predict(queries.take(validation)),
        cost_model.predict(queries.take(validation)),
    )
    predictor.refit(everything.take(np.sort(np.concatenate([split.train, split.validation]))))
    started = time.perf_counter()
    success = predictor.predict(queries.take(test))
    decision_s = embed_s + (time.perf_counter() - started) / max(len(test), 1)
    after = Predicted(test, success, cost_model.predict(queries.take(test)))
    decision_usd = decision_s / 3600 * USD_PER_CORE_HOUR
    grid = find_frontier(before.success, before.cost_usd).settings()

    def sweep(predicted: Predicted) -> PolicyPoints:
        choice = find_frontier(predicted.success, predicted.cost_usd).choose(grid)
        points = points_of(choice, outcomes.score[predicted.rows], outcomes.cost_usd[predicted.rows])
        return replace(points, cost_usd=points.cost_usd + decision_usd)

    return PredictorRun(before, after, grid, decision_usd, sweep(before), sweep(after), cost_model)


def _cross_fit(
    fitted: Predictor, everything: Examples, split: Split, run: PredictorRun, seed: int
) -> Forecasts:
    """What the router expects of every question before it has learned from it."""
    seen = np.sort(np.concatenate([split.train, split.validation]))
    examples = everything.take(seen)
    experts = everything.outcomes.experts
    success = cross_forecasts(fitted, examples, seed=seed)
    return Forecasts(
        seen,
        Prediction(experts, success, run.cost_model.predict(examples.queries)),
        Prediction(experts, run.test.success, run.test.cost_usd),
        run.decision_usd,
    )


def _run_with_cascades(
    predictor: Predictor,
    outcomes: Outcomes,
    signals: Sequence[Signal],
    queries: Queries,
    split: Split,
    validation: NDArray[np.intp],
    test: NDArray[np.intp],
    embed_s: float,
    seed: int,
) -> PredictorRun:
    """The same with the cascades that pay on train and validation among the experts."""
    cascades = choose_cascades(outcomes, signals, np.concatenate([split.train, split.validation]))
    wider = add_cascades(outcomes, signals, cascades)
    run = _run_predictor(predictor, wider, queries, split, validation, test, embed_s, seed)

    def name_experts(points: PolicyPoints, rows: NDArray[np.intp]) -> PolicyPoints:
        shown = [replace(signal, confidence=signal.confidence[rows]) for signal in signals]
        return replace(points, choice=answered_by(points.choice, len(outcomes.experts), shown, cascades))

    return replace(
        run,
        test_points=name_experts(run.test_points, test),
        validation_points=name_experts(run.validation_points, validation),
    )


def _measure_decisions(
    embedder: Embedder, predictor: Predictor, cost_model: CostPredictor, texts: Sequence[str]
) -> Latency:
    """Time decisions from text to expert, every text embedded afresh."""

    def decide(some: Sequence[str]) -> NDArray[np.integer]:
        queries = read_queries(some, embedder)
        return select_at_multiplier(predictor.predict(queries), cost_model.predict(queries), 0.0)

    return measure_latency(decide, texts)
