"""How much of a full retrain's gain an added expert keeps with 200 probes, every expert held out in turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool
from orchestrator import train_router
from orchestrator.evaluation.compare import compare_routers
from orchestrator.pool_changes import add_expert, choose_probes

PROBES = 200
DRAWS = 5  # of the probes; a gain is the mean over them


def print_probes(
    recorded: Path, pools: list[Pool], cache: Path, console: Console, embedder: str = "wordllama"
) -> None:
    for pool in pools:
        outcomes = load_pool(recorded, pool)
        full = train_router(outcomes, embedder=embedder, cache_dir=cache).orchestrator
        table = Table(
            "held out",
            "gain of retraining",
            "gain of probes",
            title=f"pool {pool.name}, {PROBES} probes, {DRAWS} draws",
        )
        gains = []
        for name in pool.experts:
            rest = [other for other in pool.experts if other != name]
            without = train_router(outcomes.only(rest), embedder=embedder, cache_dir=cache).orchestrator
            routers = {"full": full, "without": without}
            for draw in range(DRAWS):
                probes = choose_probes(without, outcomes.only(rest), PROBES, seed=draw)
                routers[f"added {draw}"] = add_expert(without, name, outcomes.take(probes))
            report = compare_routers(routers, outcomes, replicates=1, cache_dir=cache)
            retrained, *placed = (
                report.difference(row, "without", "aiq_log").value for row in routers if row != "without"
            )
            gains.append((retrained, np.mean(placed)))
            table.add_row(name, *(f"{100 * gain:+.2f}" for gain in gains[-1]))
        mean = 100 * np.mean(gains, axis=0)
        table.add_row("mean", f"{mean[0]:+.3f}", f"{mean[1]:+.3f}", style="bold")
        console.print(table, f"kept: {mean[1] / mean[0]:.0%}" if mean[0] > 0 else "retraining gained nothing")
