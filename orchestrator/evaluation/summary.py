"""From what was measured on each split to a report with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation import metrics
from orchestrator.evaluation.calibration import Calibration
from orchestrator.evaluation.latency import Latency
from orchestrator.evaluation.measures import measure_seed
from orchestrator.evaluation.report import EvaluationReport, Measure, PolicyRow
from orchestrator.evaluation.seed_result import PLAIN_POLICIES, SeedResult
from warehouse import Outcomes

DRAWN_SETTINGS = 200  # of a curve in figures and JSON

Floats = NDArray[np.float64]


def summarise(
    outcomes: Outcomes,
    per_seed: Sequence[SeedResult],
    weights: Floats,
    *,
    predictors: Sequence[str],
    budgets: Sequence[float],
    calibration: dict[str, Calibration],
    latency: dict[str, Latency],
    settings: dict[str, Any],
) -> EvaluationReport:
    """Turn what was measured on each seed into rows with intervals.

    Row 0 of the weights used here is all ones: the plain value travels with its bootstrap samples.
    """
    drawn = np.vstack([np.ones(weights.shape[1]), weights])
    names = [*PLAIN_POLICIES, *predictors, "oracle"]
    samples: dict[tuple[str, str], list[Floats]] = {}
    for result in per_seed:
        for key, values in measure_seed(result, drawn, names, budgets).items():
            samples.setdefault(key, []).append(values)
    replicates = {key: np.mean(values, axis=0) for key, values in samples.items()}
    by_policy: dict[str, dict[str, Measure]] = {name: {} for name in names}
    for (name, measure), values in replicates.items():
        low, high = metrics.interval(values[1:])
        seed_std = float(np.std([s[0] for s in samples[name, measure]]))
        by_policy[name][measure] = Measure(float(values[0]), low, high, seed_std)
    rows = tuple(_row(name, by_policy[name], outcomes, per_seed, drawn) for name in names)
    columns = [result.best_single for result in per_seed]
    return EvaluationReport(
        experts=outcomes.experts,
        questions=len(np.unique(np.concatenate([result.rows for result in per_seed]))),
        best_single=outcomes.experts[max(set(columns), key=columns.count)],
        fingerprint=outcomes.fingerprint(),
        settings=settings,
        rows=rows,
        calibration=calibration,
        latency=latency,
        replicates={key: values[1:] for key, values in replicates.items()},
    )


def _row(
    name: str, measures: dict[str, Measure], outcomes: Outcomes, per_seed: Sequence[SeedResult], drawn: Floats
) -> PolicyRow:
    shares = np.zeros(len(outcomes.experts))
    domains: dict[str, list[float]] = {}
    curves = []
    for result in per_seed:
        points = result.test[name]
        i = result.best_single if name == "zero-router" else 0
        if points.choice[i, 0] >= 0:
            shares += (
                np.bincount(points.choice[i], minlength=len(shares)) / len(points.choice[i]) / len(per_seed)
            )
        else:
            shares += 1 / len(shares) / len(per_seed)
        domain = outcomes.domains[result.rows]
        for value in np.unique(domain):
            domains.setdefault(str(value), []).append(float(points.score[i][domain == value].mean()))
        weight = drawn[:, result.rows]
        weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1)
        curves.append((weight @ points.cost_usd.T, weight @ points.score.T))
    settings = min(DRAWN_SETTINGS, *(c.shape[1] for c, _ in curves))
    drawn_at = [np.linspace(0, c.shape[1] - 1, settings).round().astype(int) for c, _ in curves]
    cost = np.mean([c[:, at] for (c, _), at in zip(curves, drawn_at, strict=True)], axis=0)
    quality = np.mean([q[:, at] for (_, q), at in zip(curves, drawn_at, strict=True)], axis=0)
    low, high = np.percentile(quality[1:], [2.5, 97.5], axis=0)
    return PolicyRow(
        name=name,
        measures=measures,
        share={expert: float(s) for expert, s in zip(outcomes.experts, shares, strict=True)},
        accuracy_by_domain={key: float(np.mean(values)) for key, values in sorted(domains.items())},
        curve=np.column_stack([cost[0], quality[0], low, high]),
    )
