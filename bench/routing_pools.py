"""The quality part: ours against the rivals on every pool, kept per pool so that a stopped run goes on."""

from __future__ import annotations

import argparse
import io
import json
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool, load_readings
from orchestrator import EvaluationReport, evaluate_router
from orchestrator.evaluation.asking_rows import AGREEMENT, LEEROO, MATCHED, SINGLES, VOTE
from orchestrator.evaluation.report_files import write_report
from orchestrator.evaluation.report_tables import render_report
from orchestrator.selection.cascade import Signal, agreements, brevities

BASELINES = ("knn", "knn+domain", "cluster", "ridge")
BLIND = (VOTE, AGREEMENT)  # rivals that do not read the query
ROUTER = "stack"
CASCADE = f"{ROUTER} + cascade"
OURS = (LEEROO, ROUTER, CASCADE)
BUDGETS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
AREA = "aiq_log_twice"  # over log cost, from the cheapest to twice the best single expert's price


def compare_pools(arguments: argparse.Namespace, pools: list[Pool], console: Console) -> None:
    predictors = tuple(arguments.predictors.split(","))
    settings = {
        "seeds": arguments.seeds,
        "replicates": arguments.replicates,
        "embedder": arguments.embedder,
        "predictors": arguments.predictors,
        "cascades": arguments.cascades,
        "questions": arguments.questions,
        "single": arguments.single,
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
    if arguments.questions is not None and arguments.questions < len(outcomes):
        drawn = np.random.default_rng(0).choice(len(outcomes), arguments.questions, replace=False)
        outcomes = outcomes.take(np.sort(drawn))
    readings = None if arguments.single else load_readings(arguments.recorded, pool, outcomes)
    signals: list[Signal] = []
    if arguments.cascades:
        signals = brevities(outcomes.completion_tokens)
        if readings is not None:
            signals += agreements(np.where(readings.classes >= 0, readings.classes + 1, 0).astype(object))
    report = evaluate_router(
        outcomes,
        predictors=predictors,
        embedder=arguments.embedder,
        seeds=arguments.seeds,
        replicates=arguments.replicates,
        budgets=BUDGETS,
        cache_dir=arguments.cache,
        signals=signals,
        readings=readings,
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
        "figures": {row.name: {k: m.value for k, m in row.measures.items()} for row in report.rows},
    }
    rows = {row.name for row in report.rows}
    rivals = [name for name in (*BASELINES, *BLIND) if name in rows]
    if rivals and ROUTER in rows:
        best = max(rivals, key=lambda name: report.row(name).measures[AREA].value)
        summary["rival"] = best
        summary["ours"] = {name: against(report, name, best) for name in OURS if name in rows}
        ours = LEEROO if LEEROO in rows else ROUTER
        summary["each rival"] = {name: difference(report, ours, name, AREA) for name in rivals}
    return summary


def against(report: EvaluationReport, ours: str, rival: str) -> dict[str, Any]:
    """Differences in points with their intervals, and the share of headroom, of one of our rows."""
    names = {row.name for row in report.rows}
    blind = SINGLES if SINGLES in names else "zero-router"
    matched = {"matched": difference(report, ours, MATCHED, AREA)} if MATCHED in names else {}
    return {
        "rival": difference(report, ours, rival, AREA),
        "zero-router": difference(report, ours, blind, AREA),
        **matched,
        "best single": difference(report, ours, "best single", "accuracy"),
        "headroom": 100 * report.row(ours).measures["headroom_log"].value,
    }


def difference(report: EvaluationReport, ours: str, other: str, measure: str) -> list[float]:
    d = report.difference(ours, other, measure)
    return [100 * d.value, 100 * d.low, 100 * d.high]


def print_summary(found: list[dict[str, Any]], console: Console) -> None:
    shares = [f"{share:g}" for share in BUDGETS]
    table = Table(
        "pool", "ours", "best rival", "less the rival", "less the zero-router", "less matched random",
        "no pressure, less best single", "headroom", *(f"at {share}" for share in shares),
        "calls at .5, 1, 2", "s",
        title="in points, paired; areas over log cost up to twice the best single's price",
        caption="the zero-router is fitted on the training questions; headroom: up to the dearest expert",
    )  # fmt: skip
    for summary in found:
        for name, figures in summary["ours"].items():
            own = summary["figures"][name]
            table.add_row(
                summary["pool"],
                name,
                summary["rival"],
                *(
                    show(figures[key]) if key in figures else "-"
                    for key in ("rival", "zero-router", "matched", "best single")
                ),
                f"{figures['headroom']:.1f}%",
                *(f"{own[f'accuracy@{share}']:.4f}" for share in shares),
                " ".join(f"{own.get(f'calls@{share}', 1):.2f}" for share in ("0.5", "1", "2")),
                f"{summary['seconds']:.0f}",
            )
    console.print(table)
    for name in OURS:
        # the cascade's row is the router's where there is nothing that it could look at
        rows = [summary["ours"].get(name, summary["ours"][ROUTER])["rival"] for summary in found]
        above, clear = sum(row[0] > 0 for row in rows), sum(row[1] > 0 for row in rows)
        below = sum(row[2] < 0 for row in rows)
        console.print(
            f"{name}: above the best rival on {above} of {len(rows)} pools, the interval clear on {clear}, "
            f"clearly below it on {below}"
        )


def show(difference: list[float]) -> str:
    value, low, high = difference
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
