"""An evaluation as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evaluation.asking_rows import AGREEMENT, MATCHED, SINGLES, VOTE
from orchestrator.evaluation.report import EvaluationReport, Measure
from orchestrator.evaluation.seed_result import PLAIN_POLICIES

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.selection.presets import Preset

NOT_SERVED = {"random", "zero-router", SINGLES, VOTE, AGREEMENT, MATCHED, "oracle"}


def is_served(name: str) -> bool:
    """Whether a row is a policy that an endpoint can follow, and not only something to compare with."""
    return name not in NOT_SERVED and not name.endswith("+ cascade")


def render_report(report: EvaluationReport) -> Table:
    """The report as a table for people."""
    from rich.table import Table

    shares = [name.split("@")[1] for name in report.rows[-1].measures if name.startswith("accuracy@")]
    table = Table(
        title=f"{len(report.experts)} experts, {report.questions:,} questions tested with all answers"
    )
    table.caption = (
        f"best single: {report.best_single}; @x: accuracy within x of its cost, below it the $ / 1k spent;"
        " ± half of the 95% interval;"
        " °: to compare with, not served; AIQ over cost and log cost, log 2: up to twice the best's cost;"
        " headroom: share of the way from zero-router to oracle (log cost)"
    )
    for column in (
        "policy",
        "accuracy",
        "$ / 1k",
        *(f"@{s}" for s in shares),
        "AIQ",
        "AIQ log",
        "AIQ log 2",
        "headroom",
        "in series",
    ):
        table.add_column(column, justify="left" if column == "policy" else "right", no_wrap=True)
    for row in report.rows:
        m = row.measures
        table.add_row(
            row.name if is_served(row.name) else f"{row.name} °",
            _show(m["accuracy"]),
            f"{m['cost_usd'].value * 1000:.3g}",
            *(_show_at(m.get(f"accuracy@{s}"), m.get(f"cost@{s}")) for s in shares),
            _show(m.get("aiq")),
            _show(m.get("aiq_log")),
            _show(m.get("aiq_log_twice")),
            _show(m.get("headroom_log"), percent=True),
            f"{m['calls'].value:.2f}" if "calls" in m else "1",
        )
    return table


def render_pairs(report: EvaluationReport) -> Table:
    """The learned policies against each other and the best single expert, as a table for people."""
    from rich.table import Table

    table = Table(title="differences in points, paired over questions [95% interval]")
    for column in ("pair", "accuracy", "AIQ", "AIQ log"):
        table.add_column(column, no_wrap=True)
    learned = [row.name for row in report.rows if row.name not in {*PLAIN_POLICIES, "oracle"}]
    for ours, other in combinations([*reversed(learned), "best single"], 2):
        cells = []
        for measure in ("accuracy", "aiq", "aiq_log"):
            if (ours, measure) in report.replicates and (other, measure) in report.replicates:
                d = report.difference(ours, other, measure)
                cells.append(f"{100 * d.value:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]")
            else:
                cells.append("-")
        table.add_row(f"{ours} less {other}", *cells)
    return table


def _show_at(accuracy: Measure | None, cost_usd: Measure | None) -> str:
    """What is reached within a budget, and below it what that spends, in USD per 1,000 queries."""
    if accuracy is None or cost_usd is None:
        return "-"
    reached = _show(accuracy).replace(" ", "\n")  # below each other: there are several such columns
    return f"{reached}\n${cost_usd.value * 1000:.3g}"


def _show(measure: Measure | None, *, percent: bool = False) -> str:
    if measure is None or not np.isfinite(measure.value):
        return "-"
    scale, digits = (100, 1) if percent else (1, 4)
    text = f"{measure.value * scale:.{digits}f}{'%' if percent else ''}"
    return f"{text} ±{(measure.high - measure.low) / 2 * scale:.{digits}f}"


def render_presets(presets: Mapping[str, Preset]) -> Table:
    """What each preset is expected to cost and to score; of routers saved earlier the multiplier alone."""
    from rich.table import Table

    table = Table(
        "preset",
        *("success per $", "$ per 1,000 queries", "success"),
        title="presets, on queries like those learned from",
        caption="expected, with 95% intervals; the default is balanced",
    )
    for name, preset in presets.items():
        row, expected = [name, f"{preset.multiplier:.4g}"], preset.expected
        if expected is not None:
            cost, low, high = (
                f"{1000 * usd:.4g}"
                for usd in (expected.cost_usd, expected.cost_low_usd, expected.cost_high_usd)
            )
            row += [
                f"{cost} ({low} to {high})",
                f"{expected.success:.4f} ({expected.success_low:.4f} to {expected.success_high:.4f})",
            ]
        table.add_row(*row)
    return table
