"""The measures that other benchmarks of routers report, as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evaluation.report import EvaluationReport

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = {
    "QNC": "qnc",
    "gain": "perf_gain",
    "nAUC": "nauc",
    "arena-style": "arena_style",
    "Opt.Sel": "opt_sel",
    "Opt.Cost": "opt_cost",
    "Opt.Acc": "opt_acc",
}
OF_PAIRS = {"APGR": "apgr", "CPT 50": "cpt@50"}
CAPTION = (
    "QNC: cost to match the best single, over its cost; gain: of the best setting over the best single;"
    " nAUC: area under the Pareto front; arena-style: RouterArena's formula on these data; Opt: right answers"
    " by the cheapest expert that was right, its cost over what was paid, accuracy over the oracle's;"
    " ms: one text to its expert on this machine; per s: many at once"
)


def render_details(report: EvaluationReport) -> Table:
    """One row a policy; a dash where a measure does not apply or is never reached."""
    from rich.table import Table

    table = Table(title="as other benchmarks measure it", caption=CAPTION)
    columns = COLUMNS | (OF_PAIRS if any("apgr" in row.measures for row in report.rows) else {})
    for column in ("policy", *columns, "ECE", "Brier", "ms p50", "p95", "p99", "per s"):
        table.add_column(column, justify="left" if column == "policy" else "right", no_wrap=True)
    for row in report.rows:
        cells = [
            f"{row.measures[name].value:.3f}"
            if name in row.measures and np.isfinite(row.measures[name].value)
            else "-"
            for name in columns.values()
        ]
        calibration, latency = report.calibration.get(row.name), report.latency.get(row.name)
        cells += [f"{calibration.ece:.3f}", f"{calibration.brier:.3f}"] if calibration else ["-"] * 2
        if latency is None:
            cells += ["-"] * 4
        else:
            cells += [f"{1000 * value:.2f}" for value in (latency.p50_s, latency.p95_s, latency.p99_s)]
            cells.append(f"{latency.per_s:,.0f}")
        table.add_row(row.name, *cells)
    return table
