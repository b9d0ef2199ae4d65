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

from orchestrator import metrics
from orchestrator.cost import CostPredictor
from orchestrator.embedding import Embedder, load_embedder
from orchestrator.persistence import build_predictor
from orchestrator.predictor import Predictor
from orchestrator.queries import Examples, Queries, read_queries
from orchestrator.report import Calibration, EvaluationReport, Measure, PolicyRow, summarise
from orchestrator.selector import select_at_multiplier
from orchestrator.splits import Split, split_by_text
from warehouse import InputError, Outcomes

PriceBasis = Literal["actual", "flat"]
USD_PER_CORE_HOUR = 0.05  # what a decision's computing is charged at
MULTIPLIERS = 72
BUDGETS = (0.25, 0.5, 0.75, 1.0)  # shares of the best single expert's cost
PLAIN_ROWS = ("random", "cheapest", "best single", "zero-router", "oracle")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyPoints:
    """What one policy did on one seed's questions, at each of its settings."""

    score: NDArray[np.float32]  # [settings, n]
    cost_usd: NDArray[np.float64]  # [settings, n]
    choice: NDArray[np.int16]  # [settings, n]


def evaluate_router(
    outcomes: Outcomes,
    *,
    predictors: Sequence[str] = ("knn",),
    embedder: str = "minilm-int8+wordllama",
    seeds: int = 5,
    price_basis: PriceBasis = "actual",
    budgets: Sequence[float] = BUDGETS,
    replicates: int = 1000,
    cache_dir: Path | None = None,
    build: Callable[[str], Predictor] = build_predictor,
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

    Raises:
        InputError: fewer than two experts, or too few questions answered by all of them.
    """
    outcomes = prepare_outcomes(outcomes, price_basis)
    reader = load_embedder(embedder, cache_dir=cache_dir)
    queries = read_queries(outcomes.texts, reader)
    complete = np.asarray(np.isfinite(outcomes.score).all(axis=1))
    weights = metrics.question_weights(len(outcomes), replicates, seed=0)
    embed_s = _embedding_seconds(embedder, outcomes.texts)
    per_seed: list[SeedResult] = []
    calibration: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in predictors}
    for seed in range(seeds):
        split = split_by_text(outcomes.texts, seed=seed)
        test = split.test[complete[split.test]]
        validation = split.validation[complete[split.validation]]
        result = SeedResult.of_plain_policies(outcomes, test, np.concatenate([split.train, split.validation]))
        for name in predictors:
            fitted = build(name)
            points, success = _run_predictor(
                fitted, outcomes, queries, split, validation, test, embed_s, seed
            )
            result.test[name], result.validation[name] = points
            calibration[name].append((success.astype(float), outcomes.score[test].astype(float)))
        per_seed.append(result)
    return summarise(
        outcomes,
        per_seed,
        weights,
        predictors=predictors,
        budgets=budgets,
        calibration={name: _calibrate(parts, outcomes.experts) for name, parts in calibration.items()},
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
    complete = np.isfinite(outcomes.score).all(axis=1) & np.isfinite(outcomes.cost_usd).all(axis=1)
    if complete.sum() < 50:
        raise InputError(
            f"only {int(complete.sum())} questions were answered by all {len(outcomes.experts)} experts",
            fix="evaluate fewer experts, or let these answer more of the same questions (50 at least)",
        )
    if price_basis == "flat":
        mean = outcomes.cost_usd[complete].mean(axis=0)
        outcomes = replace(outcomes, cost_usd=np.where(np.isfinite(outcomes.cost_usd), mean, np.nan))
    return outcomes


@dataclass
class SeedResult:
    """Everything measured on one split."""

    rows: NDArray[np.intp]  # [n] test questions, as rows of the outcomes
    best_single: int  # column, chosen on train and validation
    test: dict[str, PolicyPoints]
    validation: dict[str, PolicyPoints]

    @classmethod
    def of_plain_policies(
        cls, outcomes: Outcomes, test: NDArray[np.intp], seen: NDArray[np.intp]
    ) -> SeedResult:
        """Measure the policies that learn nothing from the text."""
        score, cost = outcomes.score[test], outcomes.cost_usd[test]
        n, m = score.shape
        known = outcomes.score[seen]
        known = known[np.isfinite(known).all(axis=1)]
        mean_cost = np.nanmean(outcomes.cost_usd[seen], axis=0)
        best = int(np.lexsort((mean_cost, -known.mean(axis=0)))[0])
        cheapest = int(mean_cost.argmin())

        def constant(column: int) -> PolicyPoints:
            return points_of(np.full((1, n), column), score, cost)

        singles = points_of(np.repeat(np.arange(m)[:, None], n, axis=1), score, cost)
        grid = multiplier_grid(score, cost)
        oracle = points_of(np.stack([select_at_multiplier(score, cost, x) for x in grid]), score, cost)
        test_points = {
            "random": PolicyPoints(
                score.mean(axis=1, keepdims=True).T,
                cost.mean(axis=1, keepdims=True).T,
                np.full((1, n), -1, np.int16),
            ),
            "cheapest": constant(cheapest),
            "best single": constant(best),
            "zero-router": singles,
            "oracle": oracle,
        }
        return cls(test, best, test_points, {})


def multiplier_grid(success: NDArray[np.floating], cost_usd: Floats, count: int = MULTIPLIERS) -> Floats:
    """Multipliers [count] from 0 to infinity that sweep a policy from dearest to cheapest: quantiles of the
    rates at which dearer experts buy success on these queries.
    """
    sample = np.linspace(0, len(success) - 1, min(len(success), 2000)).astype(int)
    s, c = np.asarray(success, float)[sample], cost_usd[sample]
    gain, extra = s[:, :, None] - s[:, None, :], c[:, :, None] - c[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = (gain / extra)[(gain > 1e-9) & (extra > 1e-15)]
    if not len(rates):
        return np.array([0.0, np.inf])
    inner = np.unique(np.quantile(rates, np.linspace(0, 1, count - 2)))
    return np.concatenate([[0.0], inner * (1 + 1e-9), [np.inf]])


def points_of(choice: NDArray[np.integer], score: NDArray[np.float32], cost_usd: Floats) -> PolicyPoints:
    """What the choices [settings, n] score and cost."""
    rows = np.arange(choice.shape[1])
    return PolicyPoints(score[rows, choice], cost_usd[rows, choice], choice.astype(np.int16))


def _run_predictor(
    predictor: Predictor,
    outcomes: Outcomes,
    queries: Queries,
    split: Split,
    validation: NDArray[np.intp],
    test: NDArray[np.intp],
    embed_s: float,
    seed: int,
) -> tuple[tuple[PolicyPoints, PolicyPoints], NDArray[np.float32]]:
    """Fit on train, choose on validation, learn again from both; sweep the multiplier.

    Returns the (test, validation) points and the predicted test success. The validation points come from
    before the validation questions were learned from.
    """
    everything = Examples(queries, outcomes)
    train, held_out = everything.take(split.train), everything.take(split.validation)
    predictor.fit(train, held_out, seed=seed)
    cost_model = CostPredictor().fit(train, held_out)
    validation_success = predictor.predict(queries.take(validation))
    validation_cost = cost_model.predict(queries.take(validation))
    predictor.refit(everything.take(np.sort(np.concatenate([split.train, split.validation]))))
    started = time.perf_counter()
    success = predictor.predict(queries.take(test))
    decision_s = embed_s + (time.perf_counter() - started) / max(len(test), 1)
    decision_usd = decision_s / 3600 * USD_PER_CORE_HOUR
    cost = cost_model.predict(queries.take(test))
    grid = multiplier_grid(validation_success, validation_cost)

    def sweep(rows: NDArray[np.intp], s: NDArray[np.float32], c: Floats) -> PolicyPoints:
        choice = np.stack([select_at_multiplier(s, c, x) for x in grid])
        points = points_of(choice, outcomes.score[rows], outcomes.cost_usd[rows])
        return replace(points, cost_usd=points.cost_usd + decision_usd)

    return (sweep(test, success, cost), sweep(validation, validation_success, validation_cost)), success


def _embedding_seconds(name: str, texts: Sequence[str], sample: int = 24) -> float:
    """Median time to embed one text on its own, without the cache."""
    embedder: Embedder = load_embedder(name)
    seconds = []
    for text in [texts[0], *texts[:: max(len(texts) // sample, 1)]][: sample + 1]:
        started = time.perf_counter()
        embedder.embed([text])
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:] or seconds))


def _calibrate(parts: Sequence[tuple[Floats, Floats]], experts: Sequence[str]) -> Calibration:
    predicted, observed = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return Calibration(
        ece=metrics.expected_calibration_error(predicted, observed),
        brier=metrics.brier_score(predicted, observed),
        auroc={name: metrics.auroc(predicted[:, j], observed[:, j]) for j, name in enumerate(experts)},
        bins=metrics.calibration_bins(predicted, observed),
    )


__all__ = ["BUDGETS", "EvaluationReport", "Measure", "PolicyRow", "PriceBasis", "evaluate_router"]
