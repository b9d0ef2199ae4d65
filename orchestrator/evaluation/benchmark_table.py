"""The measures that other benchmarks of routers report, as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evaluation.narrow_table import narrow_table
from orchestrator.evaluation.report import EvaluationReport

if TYPE_CHECKING:
    from rich.console import Group

COLUMNS = {
    "QNC": "qnc",
    "gain": "perf_gain",
    "nAUC": "nauc",
    "arena": "arena_style",
    "Opt.Sel": "opt_sel",
    "Opt.Cost": "opt_cost",
    "Opt.Acc": "opt_acc",
}
OF_PAIRS = {"APGR": "apgr", "CPT 50": "cpt@50"}
CAPTION = (
    "QNC: cost to match the best single, over its cost; gain: of the best setting over the best single;"
    " nAUC: area under the Pareto front; arena: in the style of RouterArena, its formula on these data;"
    " Opt: right answers by the cheapest expert that was right, its cost over what was paid, accuracy over"
    " the oracle's"
)


def render_details(report: EvaluationReport) -> Group:
    """Tables with a row for each policy; a dash where a measure does not apply or is never reached.

    Each fits into a terminal of 80 columns.
    """
    from rich.console import Group

    columns = COLUMNS | (OF_PAIRS if any("apgr" in row.measures for row in report.rows) else {})
    table = narrow_table(("policy", *columns), title="as other benchmarks measure it", caption=CAPTION)
    timed = narrow_table(
        ("router", "ECE", "Brier", "ms p50", "p95", "p99", "per s"),
        title="how true its forecasts are, and how fast it decides on this machine",
        caption="ms: one text to its expert; per s: many at once",
    )
    for row in report.rows:
        cells = [
            f"{row.measures[name].value:.3f}"
            if name in row.measures and np.isfinite(row.measures[name].value)
            else "-"
            for name in columns.values()
        ]
        table.add_row(row.name, *cells)
        calibration, latency = report.calibration.get(row.name), report.latency.get(row.name)
        if calibration is None and latency is None:
            continue
        told = [f"{calibration.ece:.3f}", f"{calibration.brier:.3f}"] if calibration else ["-"] * 2
        if latency is None:
            told += ["-"] * 4
        else:
            told += [f"{1000 * value:.2f}" for value in (latency.p50_s, latency.p95_s, latency.p99_s)]
            told.append(f"{latency.per_s:,.0f}")
        timed.add_row(row.name, *told)
    return Group(table, timed)
