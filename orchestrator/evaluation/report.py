"""The report of an evaluation: rows with intervals, compared pair by pair."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation import metrics
from orchestrator.evaluation.calibration import Calibration
from orchestrator.evaluation.latency import Latency
from warehouse import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A figure with its bootstrap 95% interval over questions and its standard deviation over seeds."""

    value: float
    low: float
    high: float
    seed_std: float


@dataclass(frozen=True)
class PolicyRow:
    """One policy. Its measures go by the names that ``measures.measure_seed`` gives them."""

    name: str
    measures: dict[str, Measure]
    share: dict[str, float]  # expert -> share of queries, with no budget pressure
    accuracy_by_domain: dict[str, float]
    curve: Floats  # [settings, 4] mean cost, mean accuracy, low, high


@dataclass(frozen=True)
class EvaluationReport:
    """All policies on one pool. ``replicates`` keeps each measure's bootstrap samples for paired tests."""

    experts: tuple[str, ...]
    questions: int
    best_single: str
    fingerprint: str
    settings: dict[str, Any]
    rows: tuple[PolicyRow, ...]
    calibration: dict[str, Calibration]
    latency: dict[str, Latency]
    replicates: dict[tuple[str, str], Floats] = field(repr=False)

    def row(self, name: str) -> PolicyRow:
        """The row of a policy."""
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(
            f"no row is called {name!r}", fix=f"use one of {', '.join(r.name for r in self.rows)}"
        )

    def difference(self, ours: str, other: str, measure: str) -> Measure:
        """``ours`` minus ``other`` in one measure, paired over questions and seeds."""
        samples = self.replicates[ours, measure] - self.replicates[other, measure]
        mine, theirs = self.row(ours).measures[measure], self.row(other).measures[measure]
        low, high = metrics.interval(samples)
        return Measure(mine.value - theirs.value, low, high, float("nan"))

    def metrics(self) -> dict[str, float]:
        """A flat dictionary of every figure, for an experiment tracker."""
        flat = {}
        for row in self.rows:
            name = re.sub(r"\W+", "_", row.name)  # trackers take few characters: "stack + cascade"
            for key, measure in row.measures.items():
                key = key.replace("@", "_at_")
                flat[f"{name}/{key}"] = measure.value
                flat[f"{name}/{key}_low"], flat[f"{name}/{key}_high"] = measure.low, measure.high
        for name, calibration in self.calibration.items():
            flat[f"{name}/ece"], flat[f"{name}/brier"] = calibration.ece, calibration.brier
        for name, latency in self.latency.items():
            flat |= {f"{name}/latency_{key}": value for key, value in asdict(latency).items()}
        return {key: value for key, value in flat.items() if np.isfinite(value)}
