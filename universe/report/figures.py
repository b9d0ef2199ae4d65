"""Figures of a universe: frontier, marginal values, gaps, robustness. Each returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from universe.analysis.explain import MarginalValue
from universe.analysis.frontier import Frontier
from universe.analysis.gaps import GapReport
from universe.analysis.robust import RobustChoice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, SOFT, WARN = "#1f2933", "#2563eb", "#9aa5b1", "#d9480f"
AXIS_LABELS = {
    "max_cost_usd": "query budget (USD per 1,000 queries, log scale)",
    "max_usd_per_hour": "hosting budget (USD per hour, log scale)",
    "max_experts": "number of experts allowed",
}


def draw_frontier(frontier: Frontier) -> Figure:
    """Expected score over the budget with its proven upper bound; markers tell how many experts are kept."""
    figure, axes = _canvas(9, 5)
    points = [(b, u) for b, u in zip(frontier.limits, frontier.universes, strict=True) if u is not None]
    factor = 1000 if frontier.budget == "max_cost_usd" else 1
    x = np.array([b * factor for b, _ in points])
    score = np.array([u.objective for _, u in points])
    axes.plot(x, [u.bound for _, u in points], color=SOFT, lw=6, alpha=0.5, label="proven upper bound")
    axes.plot(x, score, color=ACCENT, marker="o", ms=5, label="best universe")
    for i, (_, universe) in enumerate(points):
        if i == 0 or len(universe.experts) != len(points[i - 1][1].experts):
            axes.annotate(f"{len(universe.experts)}", (x[i], score[i]), (0, 8), textcoords="offset points",
                          ha="center", fontsize=9, color=INK)  # fmt: skip
    if frontier.budget != "max_experts":
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(AXIS_LABELS[frontier.budget])
    axes.set_ylabel("expected routed score")
    axes.set_title("Best universe for every budget (numbers: experts kept)", loc="left")
    axes.legend(frameon=False, loc="lower right")
    return figure


def draw_marginal_values(values: Sequence[MarginalValue], *, show_left_out: int = 6) -> Figure:
    """Bars of what each expert is worth: lost without it (kept), added by it (the best of those left out)."""
    shown = [v for v in values if v.kept] + [v for v in values if not v.kept][:show_left_out]
    figure, axes = _canvas(9, 1.2 + 0.32 * len(shown))
    widths = [min(v.value, 1.0) for v in shown]
    axes.barh(range(len(shown)), widths, color=[ACCENT if v.kept else SOFT for v in shown], height=0.7)
    axes.set_yticks(range(len(shown)), [v.expert for v in shown], fontsize=9)
    axes.invert_yaxis()
    reach = max([*widths, 1e-6])
    for i, v in enumerate(shown):
        axes.text(widths[i] + 0.01 * reach, i, "needed" if np.isinf(v.value) else f"{v.value:.4f}",
                  va="center", fontsize=8, color=INK)  # fmt: skip
    axes.set_xlim(0, reach * 1.15)
    axes.set_xlabel("score lost without it (blue, kept) or added on top (grey, left out)")
    axes.set_title("What each expert is worth", loc="left")
    axes.grid(axis="y", visible=False)
    return figure


def draw_gaps(report: GapReport, *, show: int = 14) -> Figure:
    """Bars of what the universe reaches in each gap, with intervals, beside the level aimed at."""
    shown = report.gaps[:show]
    figure, axes = _canvas(10, 1.8 + 0.42 * max(len(shown), 1))
    for i, gap in enumerate(shown):
        colour = WARN if gap.kind == "no expert" else ACCENT
        axes.barh(i, max(gap.reached, 0), color=colour, height=0.62, alpha=0.85)
        axes.plot(gap.interval, [i, i], color=INK, lw=1.5)
        axes.text(
            1.02, i, f"{gap.traffic_share:.1%} of traffic · worth {gap.accuracy_worth:.4f} · found again"
            f" {gap.stability:.0%}", va="center", fontsize=8, color=INK,
            transform=axes.get_yaxis_transform())  # fmt: skip
    axes.axvline(report.target, color=INK, lw=1, ls="--")
    axes.set_yticks(range(len(shown)), [g.name for g in shown], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(min(0, *(g.interval[0] for g in shown)) if shown else 0, 1)
    axes.set_xlabel("reached, chance taken out (line: 95% interval; dashed: the universe overall)")
    axes.set_title("Gaps: orange, no expert does well; blue, only the dearest does", loc="left")
    axes.grid(axis="y", visible=False)
    return figure


def draw_robustness(choice: RobustChoice) -> Figure:
    """Values of the nominal and the robust set in every scenario, sorted by the nominal one's."""
    figure, axes = _canvas(9, 4.5)
    order = np.argsort(choice.nominal_values)
    finite = np.isfinite(choice.nominal_values[order])
    x = np.arange(len(order))
    axes.plot(
        x[finite], choice.nominal_values[order][finite], "o-", color=SOFT, label="best for today's world"
    )
    axes.plot(x, choice.robust_values[order], "o-", color=ACCENT, label="robust")
    for i in x[~finite]:
        axes.axvline(i, color=WARN, lw=4, alpha=0.3)
    axes.set_xlabel("scenario, worst first (orange: today's set breaks a limit there)")
    axes.set_ylabel("value (score minus priced cost)")
    axes.set_title(f"Robust choice: costs {choice.premium:.4f} if nothing moves", loc="left")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)  # no window system and no global state needed
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e7eb", lw=0.8)
    axes.set_axisbelow(True)
    return figure, axes
