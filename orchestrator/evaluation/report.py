"""What an evaluation found: rows with intervals, as a table, as JSON, and compared pair by pair."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation import metrics
from orchestrator.evaluation.latency import Latency
from orchestrator.evaluation.measures import PLAIN_POLICIES, measure_seed
from warehouse import InputError, Outcomes

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.evaluation.evaluate import SeedResult

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A figure with its bootstrap 95% interval over questions and its standard deviation over seeds."""

    value: float
    low: float
    high: float
    seed_std: float


@dataclass(frozen=True)
class Calibration:
    """How far predicted success can be believed."""

    ece: float
    brier: float
    auroc: dict[str, float]  # expert -> area under the ROC curve
    bins: Floats  # [b, 3] mean predicted, mean observed, count


@dataclass(frozen=True)
class PolicyRow:
    """One policy. Its measures go by the names that :func:`measure_seed` gives them."""

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

    def pairs(self) -> Table:
        """The learned policies against each other and the best single expert, as a table for people."""
        from itertools import combinations

        from rich.table import Table

        table = Table(title="differences in points, paired over questions [95% interval]")
        for column in ("pair", "accuracy", "AIQ", "AIQ log"):
            table.add_column(column, no_wrap=True)
        learned = [row.name for row in self.rows if row.name not in {*PLAIN_POLICIES, "oracle"}]
        for ours, other in combinations([*reversed(learned), "best single"], 2):
            cells = []
            for measure in ("accuracy", "aiq", "aiq_log"):
                if (ours, measure) in self.replicates and (other, measure) in self.replicates:
                    d = self.difference(ours, other, measure)
                    cells.append(f"{100 * d.value:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]")
                else:
                    cells.append("-")
            table.add_row(f"{ours} less {other}", *cells)
        return table

    def table(self) -> Table:
        """The report as a table for people."""
        from rich.table import Table

        shares = [name.split("@")[1] for name in self.rows[-1].measures if name.startswith("accuracy@")]
        table = Table(
            title=f"{len(self.experts)} experts, {self.questions:,} questions tested with all answers"
        )
        table.caption = (
            f"best single: {self.best_single}; @x: accuracy within x of its cost; ± half of the 95% interval;"
            " AIQ over cost and log cost; headroom: share of the way from zero-router to oracle (log cost)"
        )
        for column in (
            "policy",
            "accuracy",
            "$ / 1k",
            *(f"@{s}" for s in shares),
            "AIQ",
            "AIQ log",
            "headroom",
        ):
            table.add_column(column, justify="left" if column == "policy" else "right", no_wrap=True)
        for row in self.rows:
            m = row.measures
            at = [m.get(f"accuracy@{s}") for s in shares]
            table.add_row(
                row.name,
                _show(m["accuracy"]),
                f"{m['cost_usd'].value * 1000:.3g}",
                *(_show(x, interval=False) for x in at),
                _show(m.get("aiq")),
                _show(m.get("aiq_log")),
                _show(m.get("headroom_log"), percent=True),
            )
        return table

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

    def to_json(self) -> str:
        """Everything but the bootstrap samples, as JSON; what is not known is null."""
        body = {
            "experts": self.experts,
            "questions": self.questions,
            "best_single": self.best_single,
            "fingerprint": self.fingerprint,
            "settings": self.settings,
            "rows": [asdict(row) for row in self.rows],
            "calibration": {name: asdict(value) for name, value in self.calibration.items()},
            "latency": {name: asdict(value) for name, value in self.latency.items()},
        }
        return json.dumps(_plain(body), indent=1, allow_nan=False)

    def write(self, directory: Path) -> list[Path]:
        """Write ``evaluation.json`` and the figures; return the files written."""
        from orchestrator.evaluation.figures import draw_figures

        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "evaluation.json"
        path.write_text(self.to_json() + "\n")
        return [path, *draw_figures(self, directory)]


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
    settings = min(c.shape[1] for c, _ in curves)
    cost = np.mean([c[:, :settings] for c, _ in curves], axis=0)
    quality = np.mean([q[:, :settings] for _, q in curves], axis=0)
    low, high = np.percentile(quality[1:], [2.5, 97.5], axis=0)
    return PolicyRow(
        name=name,
        measures=measures,
        share={expert: float(s) for expert, s in zip(outcomes.experts, shares, strict=True)},
        accuracy_by_domain={key: float(np.mean(values)) for key, values in sorted(domains.items())},
        curve=np.column_stack([cost[0], quality[0], low, high]),
    )


def _show(measure: Measure | None, *, interval: bool = True, percent: bool = False) -> str:
    if measure is None or not np.isfinite(measure.value):
        return "-"
    scale, digits = (100, 1) if percent else (1, 4)
    text = f"{measure.value * scale:.{digits}f}{'%' if percent else ''}"
    return f"{text} ±{(measure.high - measure.low) / 2 * scale:.{digits}f}" if interval else text


def _plain(value: Any) -> Any:
    """Return what JSON can hold; a figure that is not a number, or infinite, becomes null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, int | str | None) else str(value)
