"""The quality part: ours against the rivals on every pool, kept per pool so that a stopped run goes on."""

from __future__ import annotations

import argparse
import io
import json
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_letters, load_pool
from orchestrator import EvaluationReport, evaluate_router
from orchestrator.evaluation.report_files import write_report
from orchestrator.evaluation.report_tables import render_report
from orchestrator.selection.cascade import agreements, brevities, is_known

BASELINES = ("knn", "knn+domain", "cluster", "ridge")
OURS = "stack"
CASCADE = f"{OURS} + cascade"
BUDGETS = (0.25, 0.5, 0.75, 0.77, 1.0)
PUBLISHED_HEADROOM = "7.5 to 14.6%"  # what public routers recover


def compare_pools(arguments: argparse.Namespace, pools: list[Pool], console: Console) -> None:
    predictors = tuple(arguments.predictors.split(","))
    settings = {
        "seeds": arguments.seeds,
        "replicates": arguments.replicates,
        "embedder": arguments.embedder,
        "predictors": arguments.predictors,
    }
    found = []
    for pool in pools:
        kept = arguments.out / pool.name / "summary.json"
        summary = json.loads(kept.read_text()) if arguments.resume and kept.is_file() else {}
        if summary.get("settings") != settings:
            summary = run_pool(arguments, pool, predictors, settings)
            kept.write_text(json.dumps(summary, indent=1) + "\n")
        console.print(f"\n[bold]pool {pool.name}[/bold] ({pool.benchmark})", highlight=False)
        console.print(summary["table"], highlight=False)
        found.append(summary)
    if all("ours" in summary for summary in found):
        print_summary(found, console)


def run_pool(
    arguments: argparse.Namespace, pool: Pool, predictors: tuple[str, ...], settings: dict[str, Any]
) -> dict[str, Any]:
    started = time.perf_counter()
    outcomes = load_pool(arguments.recorded, pool)
    letters = load_letters(arguments.recorded, pool, outcomes)
    compared = agreements(letters) if (is_known(letters).mean(axis=0) > 0.8).sum() > 1 else []
    report = evaluate_router(
        outcomes,
        predictors=predictors,
        embedder=arguments.embedder,
        seeds=arguments.seeds,
        replicates=arguments.replicates,
        budgets=BUDGETS,
        cache_dir=arguments.cache,
        signals=brevities(outcomes.completion_tokens) + compared,
    )
    write_report(report, arguments.out / pool.name)
    text = Console(width=170, record=True, file=io.StringIO())
    text.print(render_report(report))
    summary: dict[str, Any] = {
        "pool": pool.name,
        "settings": settings,
        "seconds": time.perf_counter() - started,
        "floor": pool.floor,
        "table": text.export_text(),
        "accuracy": {
            row.name: {k.split("@")[1]: m.value for k, m in row.measures.items() if k.startswith("accuracy@")}
            for row in report.rows
        },
    }
    rivals = [name for name in predictors if name in BASELINES]
    if predictors[-1] == OURS and rivals:
        best = max(rivals, key=lambda name: report.row(name).measures["aiq_log"].value)
        ours = [name for name in (OURS, CASCADE) if name in {row.name for row in report.rows}]
        summary["rival"] = best
        summary["ours"] = {name: against(report, name, best) for name in ours}
    return summary


def against(report: EvaluationReport, ours: str, rival: str) -> dict[str, Any]:
    """Differences in points with their intervals, and the share of headroom, of one of our rows."""

    def difference(other: str, measure: str) -> list[float]:
        d = report.difference(ours, other, measure)
        return [100 * d.value, 100 * d.low, 100 * d.high]

    return {
        "rival": difference(rival, "aiq_log"),
        "zero-router": difference("zero-router", "aiq_log"),
        "best single": difference("best single", "accuracy"),
        "headroom": 100 * report.row(ours).measures["headroom_log"].value,
    }


def print_summary(found: list[dict[str, Any]], console: Console) -> None:
    table = Table(
        "pool", "ours", "best rival", "AIQ log, ours - rival", "ours - zero-router",
        "accuracy, ours - best single",
        "headroom", "at 50%", "75%", "floor 50%", "75%", "s",
        title="ours against the best of the rivals, in points, paired",
        caption=f"headroom that public routers recover: {PUBLISHED_HEADROOM}",
    )  # fmt: skip
    for summary in found:
        floor = summary["floor"]
        for name, figures in summary["ours"].items():
            accuracy = summary["accuracy"][name]
            table.add_row(
                summary["pool"],
                name,
                summary["rival"],
                *(show(figures[key]) for key in ("rival", "zero-router", "best single")),
                f"{figures['headroom']:.1f}%",
                f"{accuracy['0.5']:.4f}",
                f"{accuracy['0.75']:.4f}",
                f"{floor.get('0.5', '-')}",
                f"{floor.get('0.75', '-')}",
                f"{summary['seconds']:.0f}",
            )
    console.print(table)
    for name in (OURS, CASCADE):
        # the cascade's row is the stack's where no answers were recorded that could be compared
        rows = [summary["ours"].get(name, summary["ours"][OURS])["rival"] for summary in found]
        above, clear = sum(row[0] > 0 for row in rows), sum(row[1] > 0 for row in rows)
        console.print(
            f"{name}: above the best rival on {above} of {len(rows)} pools, the interval clear on {clear}"
        )


def show(difference: list[float]) -> str:
    value, low, high = difference
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
