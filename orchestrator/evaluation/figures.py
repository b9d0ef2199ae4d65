"""The figures of an evaluation, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.evaluation.report import EvaluationReport
from orchestrator.evaluation.seed_result import PLAIN_POLICIES, POINT_POLICIES
from orchestrator.selection.hull import convex_hull


def draw_figures(report: EvaluationReport, directory: Path) -> list[Path]:
    """Draw cost against accuracy, accuracy by domain, share per expert, calibration, and regret by budget."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawings = {
        "cost_accuracy": _draw_curve,
        "accuracy_by_domain": _draw_domains,
        "share_per_expert": _draw_shares,
        "calibration": _draw_calibration,
    }
    if any(measure.startswith("regret@") for row in report.rows for measure in row.measures):
        drawings["regret"] = _draw_regret
    paths = []
    for name, draw in drawings.items():
        figure = Figure(figsize=(8, 5), layout="constrained")
        FigureCanvasAgg(figure)
        draw(report, figure.subplots())
        path = directory / f"{name}.png"
        figure.savefig(path, dpi=120)
        paths.append(path)
    return paths


def _draw_curve(report: EvaluationReport, axes: Any) -> None:
    for row in report.rows:
        cost, accuracy = row.curve[:, 0] * 1000, row.curve[:, 1]
        if row.name in POINT_POLICIES:
            axes.plot(cost, accuracy, "o", label=row.name)
        elif row.name == "zero-router":
            axes.plot(*convex_hull(cost, accuracy), "k--", label=row.name)
            axes.plot(cost, accuracy, "k.", alpha=0.5)
        else:
            order = np.argsort(cost)
            (line,) = axes.plot(cost[order], accuracy[order], label=row.name)
            low, high = row.curve[order, 2], row.curve[order, 3]
            axes.fill_between(cost[order], low, high, alpha=0.15, color=line.get_color())
    axes.set_xscale("log")
    axes.set_xlabel("cost, USD per 1,000 queries")
    axes.set_ylabel("accuracy on test questions, 95% band")
    axes.legend()


def _draw_domains(report: EvaluationReport, axes: Any) -> None:
    domains = list(report.rows[-1].accuracy_by_domain)
    shown = [row for row in report.rows if row.name not in ("random", "zero-router")]
    width = 0.8 / len(shown)
    for i, row in enumerate(shown):
        heights = [row.accuracy_by_domain[domain] for domain in domains]
        axes.bar(np.arange(len(domains)) + i * width, heights, width, label=row.name)
    axes.set_xticks(np.arange(len(domains)) + 0.4 - width / 2, domains, rotation=30, ha="right")
    axes.set_ylabel("accuracy, no budget pressure")
    axes.legend(ncols=3, fontsize="small")


def _draw_shares(report: EvaluationReport, axes: Any) -> None:
    shown = [row for row in report.rows if row.name not in PLAIN_POLICIES]
    left = np.zeros(len(shown))
    for expert in report.experts:
        share = np.array([row.share[expert] for row in shown])
        axes.barh([row.name for row in shown], share, left=left, label=expert)
        left += share
    axes.set_xlabel("share of queries, no budget pressure")
    axes.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def _draw_calibration(report: EvaluationReport, axes: Any) -> None:
    axes.plot([0, 1], [0, 1], "k:", linewidth=1)
    for name, calibration in report.calibration.items():
        axes.plot(
            calibration.bins[:, 0], calibration.bins[:, 1], "o-", label=f"{name} (ECE {calibration.ece:.3f})"
        )
    axes.set_xlabel("predicted success")
    axes.set_ylabel("observed success")
    axes.legend()


def _draw_regret(report: EvaluationReport, axes: Any) -> None:
    """What the best setting in hindsight would have had over the one that validation chose."""
    shown = {
        row.name: {
            float(key.removeprefix("regret@")): value
            for key, value in row.measures.items()
            if key.startswith("regret@")
        }
        for row in report.rows
    }
    for name, regrets in shown.items():
        if regrets:
            value = 100 * np.array([[m.value, m.value - m.low, m.high - m.value] for m in regrets.values()])
            axes.errorbar(
                list(regrets),
                value[:, 0],
                yerr=np.maximum(value[:, 1:].T, 0),
                fmt="o-",
                capsize=3,
                label=name,
            )
    axes.axhline(0, color="k", linewidth=1, linestyle=":")
    axes.set_xlabel("budget, as a share of the best single expert's cost")
    axes.set_ylabel("regret to the best multiplier in hindsight, points")
    axes.legend()
