"""The routing benchmark: ``python -m bench.routing [RECORDED]`` prints every table for the pools A to F.

RECORDED is a folder of recorded answers with ``pools.yaml``. Splits by text 60/20/20, five seeds that test
every question once, choices on validation, paired bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool, read_pools
from orchestrator import EvaluationReport, evaluate_router
from warehouse import InputError

BASELINES = ("knn", "knn+domain", "cluster", "ridge")
OURS = "stack"
BUDGETS = (0.25, 0.5, 0.75, 0.77, 1.0)
PARTS = ("pools", "streams", "batch", "latency", "probes", "cascade")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "recorded",
        type=Path,
        nargs="?",
        default=Path(os.environ.get("LEEROO_RECORDED", "recorded")),
        help="folder with pools.yaml and the recorded answers [LEEROO_RECORDED, else ./recorded]",
    )
    parser.add_argument("--pools", default="ABCDEF")
    parser.add_argument("--parts", default="pools", help=f"comma-separated, of {', '.join(PARTS)}; or all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--replicates", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--embedder", default="minilm-int8+wordllama")
    parser.add_argument("--predictors", default=",".join([*BASELINES, OURS]))
    parser.add_argument("--cache", type=Path, default=Path(".leeroo/cache/embeddings"))
    parser.add_argument("--out", type=Path, default=Path(".leeroo/bench/routing"))
    arguments = parser.parse_args()
    console = Console(width=170)
    parts = PARTS if arguments.parts == "all" else arguments.parts.split(",")
    try:
        pools = read_pools(arguments.recorded)
    except InputError as error:
        sys.exit(str(error))
    if "pools" in parts:
        compare_pools(arguments, [pools[name] for name in arguments.pools], console)
    if "streams" in parts:
        from bench.routing_streams import print_streams

        print_streams(arguments.recorded, pools, arguments.cache, console)
    if "batch" in parts:
        from bench.routing_speed import print_batch

        print_batch(console)
    if "latency" in parts:
        from bench.routing_speed import print_latency

        print_latency(arguments.recorded, pools["A"], arguments.cache, console)
    if "probes" in parts:
        from bench.routing_probes import print_probes

        print_probes(arguments.recorded, [pools["A"], pools["D"]], arguments.cache, console)
    if "cascade" in parts:
        from bench.routing_cascade import print_cascade

        print_cascade(arguments.recorded, [pools["A"], pools["C"], pools["D"]], arguments.cache, console)


def compare_pools(arguments: argparse.Namespace, pools: list[Pool], console: Console) -> None:
    predictors = tuple(arguments.predictors.split(","))
    summary = Table(
        "pool", "best rival", "AIQ log, ours - rival", "ours - zero-router", "accuracy, ours - best single",
        "headroom", "at half price", "floor", "s", title="ours against the best of the rivals, paired",
    )  # fmt: skip
    above = significant = 0
    for pool in pools:
        started = time.perf_counter()
        report = evaluate_router(
            load_pool(arguments.recorded, pool),
            predictors=predictors,
            embedder=arguments.embedder,
            seeds=arguments.seeds,
            replicates=arguments.replicates,
            budgets=BUDGETS,
            cache_dir=arguments.cache,
        )
        seconds = time.perf_counter() - started
        console.print(f"\n[bold]pool {pool.name}[/bold] ({pool.benchmark})", report.table())
        report.write(arguments.out / pool.name)
        rivals = [name for name in predictors if name in BASELINES]
        if OURS not in predictors or not rivals:
            continue
        best = max(rivals, key=lambda name: report.row(name).measures["aiq_log"].value)
        gain = report.difference(OURS, best, "aiq_log")
        above += gain.value > 0
        significant += gain.low > 0
        summary.add_row(
            pool.name,
            best,
            show_points(report, OURS, best, "aiq_log"),
            show_points(report, OURS, "zero-router", "aiq_log"),
            show_points(report, OURS, "best single", "accuracy"),
            f"{100 * report.row(OURS).measures['headroom_log'].value:.1f}%",
            f"{report.row(OURS).measures['accuracy@0.5'].value:.4f}",
            json.dumps(pool.floor),
            f"{seconds:.0f}",
        )
        console.print(summary)
    console.print(f"above the best rival on {above} pools, with the whole interval on {significant}")


def show_points(report: EvaluationReport, ours: str, other: str, measure: str) -> str:
    d = report.difference(ours, other, measure)
    return f"{100 * d.value:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]"


if __name__ == "__main__":
    main()
