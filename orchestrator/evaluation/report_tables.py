"""An evaluation as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evaluation.asking_rows import AGREEMENT, MATCHED, SINGLES, VOTE
from orchestrator.evaluation.narrow_table import narrow_table
from orchestrator.evaluation.report import EvaluationReport, Measure
from orchestrator.evaluation.seed_result import PLAIN_POLICIES

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from orchestrator.selection.presets import Preset

NOT_SERVED = {"random", "zero-router", SINGLES, VOTE, AGREEMENT, MATCHED, "oracle"}


def is_served(name: str) -> bool:
    """Whether a row is a policy that an endpoint can follow, rather than only a baseline."""
    return name not in NOT_SERVED and not name.endswith("+ cascade")


def render_report(report: EvaluationReport) -> Group:
    """The report as tables for people: what the policies reach, on the way, and within budgets.

    Each fits into a terminal of 80 columns.
    """
    from rich.console import Group

    reached = narrow_table(
        ("policy", "accuracy", "$ / 1k", "in series", "headroom"),
        title=f"{len(report.experts)} experts, {report.questions:,} questions tested with all answers",
        caption=f"best single: {report.best_single}; ± half of the 95% interval; in series: experts asked"
        " for one answer; headroom: share of the way from zero-router to oracle, over log cost;"
        " °: to compare with, not served",
    )
    areas = narrow_table(
        ("policy", "over cost", "over log cost", "to twice the best"),
        title="AIQ: mean accuracy over all costs",
        caption="from the cheapest expert's cost to the dearest's, or to twice the best single expert's",
    )
    shares = [name.split("@")[1] for name in report.rows[-1].measures if name.startswith("accuracy@")]
    budgets = narrow_table(
        ("policy", *(f"{100 * float(share):g}%" for share in shares)),
        title="accuracy within a share of the best single expert's cost",
        caption="with half of its 95% interval, and the $ / 1k spent",
    )
    for row in report.rows:
        m, name = row.measures, row.name if is_served(row.name) else f"{row.name} °"
        calls = f"{m['calls'].value:.2f}" if "calls" in m else "1"
        calls += f", {m['latency_s'].value:.2g} s" if "latency_s" in m else ""
        headroom = _show(m.get("headroom_log"), percent=True)
        reached.add_row(name, _show(m["accuracy"]), f"{m['cost_usd'].value * 1000:.3g}", calls, headroom)
        if "aiq" in m:
            areas.add_row(name, *(_show(m.get(area)) for area in ("aiq", "aiq_log", "aiq_log_twice")))
        at = [_show_at(m.get(f"accuracy@{share}"), m.get(f"cost@{share}")) for share in shares]
        if set(at) != {"-"}:
            budgets.add_row(name, *at)
    return Group(reached, areas, budgets) if shares else Group(reached, areas)


def render_pairs(report: EvaluationReport) -> Table:
    """The policies that can be served against all others, as a table for people."""
    table = narrow_table(
        ("policy", "less", "accuracy", "AIQ over log cost"),
        title="differences in points, paired over questions [95% interval]",
    )
    others = [row.name for row in report.rows if row.name not in {*PLAIN_POLICIES, "oracle"}]
    ours = [name for name in reversed(others) if is_served(name)]
    against = [*(name for name in reversed(others) if not is_served(name)), "best single"]
    for one, other in [*combinations(ours, 2), *product(ours, against)]:
        cells = []
        for measure in ("accuracy", "aiq_log"):
            if (one, measure) in report.replicates and (other, measure) in report.replicates:
                d = report.difference(one, other, measure)
                cells.append(f"{100 * d.value:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]")
            else:
                cells.append("-")
        table.add_row(one, other, *cells)
    return table


def _show_at(accuracy: Measure | None, cost_usd: Measure | None) -> str:
    """What is reached within a budget, and below it what that spends, in USD per 1,000 queries."""
    if accuracy is None or cost_usd is None:
        return "-"
    reached = _show(accuracy).replace(" ", "\n")  # below each other: there are many such columns
    return f"{reached}\n${cost_usd.value * 1000:.3g}"


def _show(measure: Measure | None, *, percent: bool = False) -> str:
    if measure is None or not np.isfinite(measure.value):
        return "-"
    scale, digits = (100, 1) if percent else (1, 4)
    text = f"{measure.value * scale:.{digits}f}{'%' if percent else ''}"
    return f"{text} ±{(measure.high - measure.low) / 2 * scale:.{digits}f}"


def render_presets(presets: Mapping[str, Preset]) -> Table:
    """What each preset is expected to cost and to score; of routers saved earlier the multiplier alone."""
    table = narrow_table(
        ("preset", "multiplier", "$ / 1k", "success"),
        title="presets, on queries like those learned from",
        caption="expected, with 95% intervals; multiplier: success that a USD has to buy; default: balanced",
    )
    for name, preset in presets.items():
        row, expected = [name, f"{preset.multiplier:.4g}"], preset.expected
        if expected is not None:
            cost, low, high = (
                f"{1000 * usd:.3g}"
                for usd in (expected.cost_usd, expected.cost_low_usd, expected.cost_high_usd)
            )
            row += [
                f"{cost} ({low} to {high})",
                f"{expected.success:.3f} ({expected.success_low:.3f} to {expected.success_high:.3f})",
            ]
        table.add_row(*row)
    return table
