"""Speed: a million queries in one batch, and decisions one by one and in batches on one core."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool
from orchestrator import Prediction, select_batch, train_router


def print_batch(console: Console, n: int = 1_000_000, m: int = 20) -> None:
    rng = np.random.default_rng(0)
    skill = np.linspace(0.4, 0.85, m, dtype=np.float32)
    success = np.clip(skill + 0.15 * rng.standard_normal((n, m), dtype=np.float32), 0, 1)
    cost = np.geomspace(1e-5, 1e-2, m) * rng.uniform(0.5, 1.5, (n, 1))
    prediction = Prediction(tuple(f"expert {j}" for j in range(m)), success, cost)
    table = Table(
        "budget, share of dearest",
        "s",
        "peak GiB",
        "spend / budget",
        "gap",
        title=f"{n:,} x {m} in one batch",
    )
    dearest = float(cost[:, -1].sum())
    for share in (0.01, 0.1, 0.3):
        started = time.perf_counter()
        selection = select_batch(prediction, share * dearest)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        table.add_row(
            f"{share:g}", f"{seconds:.1f}", f"{peak:.2f}", f"{selection.cost_usd / (share * dearest):.6f}",
            f"{selection.gap:.2e}",
        )  # fmt: skip
    console.print(table)


def print_latency(recorded: Path, pool: Pool, cache: Path, console: Console, requests: int = 300) -> None:
    outcomes = load_pool(recorded, pool)
    table = Table(
        "embedder", "predictor", "p50 ms", "p95 ms", "p99 ms", "batched / s", title="text to expert, one core"
    )
    for embedder in ("wordllama", "minilm-int8", "minilm-int8+wordllama"):
        for predictor in ("knn", "stack"):
            router = train_router(
                outcomes, embedder=embedder, predictor=predictor, cache_dir=cache
            ).orchestrator
            texts = [outcomes.texts[i] for i in np.random.default_rng(0).integers(0, len(outcomes), requests)]
            router.decide(texts[:3])
            seconds = []
            for text in texts:
                started = time.perf_counter()
                router.decide([text])
                seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
            router.decide(texts)
            batched = requests / (time.perf_counter() - started)
            p50, p95, p99 = np.percentile(np.array(seconds) * 1000, [50, 95, 99])
            table.add_row(embedder, predictor, f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}", f"{batched:,.0f}")
    console.print(table)
