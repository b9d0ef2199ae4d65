"""Speed: a million queries in one batch, and decisions one by one and in batches on one core."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool
from bench.routing_llmrouter import run_llmrouter
from orchestrator import (
    Prediction,
    load_embedder,
    read_queries,
    select_batch,
    train_router,
)
from orchestrator.evaluation.improvement import accuracy_at_cost
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.sweep import PolicyPoints, points_of
from orchestrator.text.splits import frozen_split


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


def print_latency(
    recorded: Path, pool: Pool, cache: Path, out: Path, console: Console, requests: int = 300
) -> None:
    """Ours with each embedder beside LLMRouter's kNN and MLP with the same, on the same questions."""
    outcomes = load_pool(recorded, pool)
    table = Table(
        "embedder", "router", "p50 ms", "p95 ms", "p99 ms", "batched / s", "accuracy", "$ / 1k",
        "ours at that cost",
        title=f"text to expert on one core, pool {pool.name}",
    )  # fmt: skip
    split = frozen_split(outcomes.prompts)
    test = split.test[np.isfinite(outcomes.score[split.test]).all(axis=1)]
    seen = np.sort(np.concatenate([split.train, split.validation]))
    held_out = outcomes.take(test)
    texts = list(held_out.texts[:requests])
    for embedder in ("wordllama", "minilm-shallow", "minilm-int8"):
        queries = read_queries(outcomes.texts, load_embedder(embedder, cache_dir=cache))
        curve: PolicyPoints | None = None
        for predictor in ("knn", "stack"):
            router = train_router(
                outcomes, embedder=embedder, predictor=predictor, cache_dir=cache
            ).orchestrator
            router.decide(texts[:3])
            seconds = []
            for text in texts:
                started = time.perf_counter()
                router.decide([text])
                seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
            router.decide(texts)
            batched = len(texts) / (time.perf_counter() - started)
            success = router.predictor.predict(queries.take(test))
            cost = router.cost.predict(queries.take(test))
            frontier = find_frontier(success, cost)
            curve = points_of(frontier.choose(frontier.settings()), held_out.score, held_out.cost_usd)
            best = int(curve.score.mean(axis=1).argmax())
            table.add_row(
                embedder,
                f"ours, {predictor}",
                *show_ms(seconds),
                f"{batched:,.0f}",
                f"{curve.score[best].mean():.4f}",
                f"{curve.cost_usd[best].mean() * 1000:.3g}",
                "",
            )
        theirs = run_llmrouter(
            outcomes, seen, test, len(texts), embedder, queries.embeddings, out / "llmrouter"
        )
        for name, result in theirs.items():
            columns = np.array([outcomes.experts.index(expert) for expert in result["chosen"]])
            rows = np.arange(len(test))
            paid = float(held_out.cost_usd[rows, columns].mean())
            ours = accuracy_at_cost(curve.score, curve.cost_usd, paid)[0] if curve else float("nan")
            table.add_row(
                embedder,
                f"LLMRouter, {name}",
                *show_ms(result["seconds"]),
                "-",
                f"{held_out.score[rows, columns].mean():.4f}",
                f"{paid * 1000:.3g}",
                f"{ours:.4f}",
            )
    console.print(table)


def show_ms(seconds: list[float]) -> list[str]:
    return [f"{value:.2f}" for value in np.percentile(np.array(seconds) * 1000, [50, 95, 99])]
