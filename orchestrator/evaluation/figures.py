"""The figures of an evaluation, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.asking_rows import SINGLES
from orchestrator.evaluation.report import EvaluationReport, PolicyRow
from orchestrator.evaluation.seed_result import PLAIN_POLICIES, POINT_POLICIES
from orchestrator.selection.hull import convex_hull

#: Okabe and Ito's, told apart by people with any common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#A6527F", "#B07D00", "#56B4E9", "#767676")
DASHES = ("-", "-.", ":")
SINGLE_POLICIES = ("zero-router", SINGLES)  # mixtures of single experts, whose hull counts
LABEL_POINTS, LABEL_WIDTH_POINTS = 12, 130  # of a name beside a curve

Floats = NDArray[np.float64]


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
        axes = figure.subplots()
        axes.set_prop_cycle(color=COLOURS)
        draw(report, axes)
        path = directory / f"{name}.png"
        figure.savefig(path, dpi=120)
        paths.append(path)
    return paths


def _draw_curve(report: EvaluationReport, axes: Any) -> None:
    draw_cost_accuracy(report.rows, axes)


def draw_cost_accuracy(
    rows: Sequence[PolicyRow], axes: Any, *, titles: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Draw cost against accuracy: curves with bands, single points with bars, each named where it ends.

    Args:
        rows: the policies, the most important first: it is drawn thickest.
        axes: Matplotlib's.
        titles: names to show instead of the rows' own.
    """
    ends: list[tuple[float, float, str, str]] = []  # x, y, text, colour
    for i, row in enumerate(rows):
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]
        cost, accuracy = row.curve[:, 0] * 1000, row.curve[:, 1]
        low, high = row.curve[:, 2], row.curve[:, 3]
        if row.name in POINT_POLICIES:
            error = np.maximum([accuracy - low, high - accuracy], 0)
            axes.errorbar(cost, accuracy, error, fmt="o", color=colour, capsize=3, zorder=3)
            end = len(cost) - 1
        elif row.name in SINGLE_POLICIES:
            hull_cost, hull_accuracy = convex_hull(cost, accuracy)
            axes.plot(hull_cost, hull_accuracy, "--", color=colour)
            axes.plot(cost, accuracy, ".", color=colour, alpha=0.6)
            end = int(np.argmax(cost))
            ends.append(
                (float(hull_cost[-1]), float(hull_accuracy[-1]), titles.get(row.name, row.name), colour)
            )
            continue
        else:
            order = np.argsort(cost)
            cost, accuracy, low, high = cost[order], accuracy[order], low[order], high[order]
            axes.plot(
                cost, accuracy, dash, color=colour, linewidth=2.5 if i == 0 else 1.5, zorder=4 - i / 100
            )
            axes.fill_between(cost, low, high, alpha=0.2 if i == 0 else 0.08, color=colour, linewidth=0)
            end = len(cost) - 1
        ends.append((float(cost[end]), float(accuracy[end]), titles.get(row.name, row.name), colour))
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    dearest = max(float(row.curve[:, 0].max()) * 1000 for row in rows)
    axes.set_xlim(left, right * (right / left) ** 0.3)  # room for the names
    axes.set_xlabel("cost, USD per 1,000 queries (log scale)")
    axes.set_ylabel("accuracy on test questions, 95% band")
    axes.spines[["top", "right"]].set_visible(False)
    _name_beside(axes, ends, dearest)


def _name_beside(axes: Any, ends: Sequence[tuple[float, float, str, str]], dearest: float) -> None:
    """Write names to the right of all that is drawn, at the height where curves end, none over another."""
    axes.figure.draw_without_rendering()  # places are known from here on
    edge = axes.transData.transform((dearest, 0.0))[0] * 72 / axes.figure.dpi
    place = axes.transData.transform([(x, y) for x, y, _, _ in ends]) * 72 / axes.figure.dpi  # points
    groups: list[list[int]] = []  # names that would touch share their middle
    for i in sorted(range(len(ends)), key=lambda i: float(place[i, 1])):
        groups.append([i])
        while len(groups) > 1 and _touch(place, groups[-2], groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    for group in groups:
        heights = _heights(place, group)
        for i, height in zip(group, heights, strict=True):
            x, y, text, colour = ends[i]
            beside = {"textcoords": "offset points", "va": "center", "fontsize": 9, "fontweight": "bold"}
            right = max(edge, place[group, 0].max()) - place[i, 0] + 8
            axes.annotate(text, (x, y), (right, height - place[i, 1]), color=colour, **beside)


def _touch(place: Floats, below: Sequence[int], above: Sequence[int]) -> bool:
    near = np.ptp(place[[*below, *above], 0]) < LABEL_WIDTH_POINTS
    return bool(near and _heights(place, above)[0] - _heights(place, below)[-1] < LABEL_POINTS)


def _heights(place: Floats, group: Sequence[int]) -> Floats:
    """Where the names of a group stand, evenly around their mean height."""
    steps = LABEL_POINTS * (np.arange(len(group)) - (len(group) - 1) / 2)
    heights: Floats = place[list(group), 1].mean() + steps
    return heights


def _draw_domains(report: EvaluationReport, axes: Any) -> None:
    domains = list(report.rows[-1].accuracy_by_domain)
    shown = [row for row in report.rows if row.name not in ("random", "zero-router")]
    width = 0.8 / len(shown)
    for i, row in enumerate(shown):
        heights = [row.accuracy_by_domain[domain] for domain in domains]
        axes.bar(np.arange(len(domains)) + i * width, heights, width, label=row.name)
    axes.set_xticks(np.arange(len(domains)) + 0.4 - width / 2, domains, rotation=30, ha="right")
    axes.set_ylabel("accuracy, no budget pressure")
    axes.figure.legend(loc="outside lower center", ncols=4, fontsize="small")


def _draw_shares(report: EvaluationReport, axes: Any) -> None:
    shown = [row for row in report.rows if row.name not in PLAIN_POLICIES]
    left = np.zeros(len(shown))
    for expert in report.experts:
        share = np.array([row.share[expert] for row in shown])
        axes.barh([row.name for row in shown], share, left=left, label=expert)
        left += share
    axes.set_xlabel("share of queries, no budget pressure")
    axes.figure.legend(loc="outside lower center", ncols=2, fontsize="x-small")


def _draw_calibration(report: EvaluationReport, axes: Any) -> None:
    axes.plot([0, 1], [0, 1], "k:", linewidth=1)
    for name, calibration in report.calibration.items():
        axes.plot(
            calibration.bins[:, 0], calibration.bins[:, 1], "o-", label=f"{name} (ECE {calibration.ece:.3f})"
        )
    axes.set_xlabel("predicted success")
    axes.set_ylabel("observed success")
    axes.figure.legend(loc="outside lower center", ncols=2, fontsize="small")


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
    axes.figure.legend(loc="outside lower center", ncols=4, fontsize="small")
