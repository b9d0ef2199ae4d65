"""Budgets over 1,000 random streams: orders, shifts of domain, bursts, mispricing, a foreign benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.routing_data import Pool, load_pool, load_recorded
from orchestrator import load_embedder, select_at_multiplier
from orchestrator.evaluate import multiplier_grid
from orchestrator.pacing import BudgetPacer
from orchestrator.persistence import build_predictor
from orchestrator.queries import Examples, read_queries
from orchestrator.splits import split_by_text

STREAMS = 1_000
LENGTH = 1_000
KINDS = ("random order", "one domain after another", "bursts", "mispriced")

#: The models that both benchmarks recorded, for training on one and streaming the other.
SHARED = {
    "helm/openai_gpt-4o-2024-05-13": "gpt-4o-2024-05-13",
    "helm/google_gemini-1.5-pro-preview-0409": "gemini-1.5-pro-002",
    "helm/google_gemini-1.5-flash-preview-0514": "gemini-1.5-flash-002",
    "helm/meta_llama-3-70b": "Meta-Llama-3-70B",
    "routellm:Mixtral-8x7B-Instruct": "Mixtral-8x7B-Instruct-v0.1",
}


def print_streams(recorded: Path, pools: dict[str, Pool], cache: Path, console: Console) -> None:
    table = Table(
        "stream",
        "streams",
        "overspent",
        "least used",
        "mean used",
        "regret mean",
        "regret worst",
        title="stream budgets",
    )
    for name in ("A", "D"):
        outcomes = load_pool(recorded, pools[name])
        complete = np.isfinite(outcomes.score).all(axis=1)
        examples = Examples(
            read_queries(outcomes.texts, load_embedder("wordllama", cache_dir=cache)), outcomes
        )
        split = split_by_text(outcomes.texts, seed=0)
        predictor = build_predictor("stack").fit(examples.take(split.train), examples.take(split.validation))
        test = np.concatenate([split.test, split.validation])
        test = test[complete[test]]
        success = predictor.predict(examples.queries.take(test))
        for kind in KINDS:
            runs = run_streams(
                success, outcomes.score[test], outcomes.cost_usd[test], outcomes.domains[test], kind, console
            )
            add_row(table, f"pool {name}: {kind}", runs)
    add_row(table, "trained on mmlu, streamed mmlu_pro", run_foreign_streams(recorded, cache, console))
    console.print(table)


def run_streams(
    success: np.ndarray,
    score: np.ndarray,
    cost: np.ndarray,
    domains: np.ndarray,
    kind: str,
    console: Console,
    streams: int = STREAMS // (2 * len(KINDS)),
    prior: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Return [streams, 4]: spend / budget, overspent, regret in accuracy, whether the budget was binding."""
    out = []
    for seed in track(range(streams), description=kind, console=console, transient=True):
        rng = np.random.default_rng(seed)
        order = stream_order(rng, domains, kind)
        paid = cost[order].copy()
        if kind == "mispriced":
            paid *= rng.uniform(0.5, 2.0, cost.shape[1])
        cheapest, dearest = paid.min(axis=1).sum(), paid.max(axis=1).sum()
        budget = cheapest * 1.02 + rng.uniform(0.02, 0.6) * (dearest - cheapest)
        first = prior or (
            success[rng.integers(0, len(success), 300)],
            cost[rng.integers(0, len(success), 300)],
        )
        out.append(run_stream(success[order], score[order], cost[order], paid, budget, first))
    return np.array(out)


def stream_order(rng: np.random.Generator, domains: np.ndarray, kind: str) -> np.ndarray:
    if kind == "one domain after another":
        names = rng.permutation(np.unique(domains))
        sample = rng.choice(len(domains), LENGTH, replace=False)
        return np.concatenate([sample[domains[sample] == name] for name in names])
    if kind == "bursts":  # the same few questions' neighbourhood over and over
        parts = []
        while sum(map(len, parts)) < LENGTH:
            name = rng.choice(np.unique(domains))
            parts.append(rng.choice(np.flatnonzero(domains == name), rng.integers(20, 200)))
        return np.concatenate(parts)[:LENGTH]
    return rng.choice(len(domains), LENGTH, replace=False)


def run_stream(
    success: np.ndarray,
    score: np.ndarray,
    cost: np.ndarray,
    paid: np.ndarray,
    budget: float,
    prior: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float, float, float]:
    pacer = BudgetPacer(budget, len(success), sample_success=prior[0], sample_cost_usd=prior[1])
    ceiling = np.maximum(cost, paid)
    earned = 0.0
    for i in range(len(success)):
        reservation = pacer.reserve(success[i], cost[i], ceiling_usd=ceiling[i])
        if reservation is not None:
            j = reservation.expert
            pacer.settle(reservation, expected_usd=cost[i, j], paid_usd=paid[i, j])
            earned += score[i, j]
    rows = np.arange(len(success))
    best = 0.0
    for multiplier in multiplier_grid(success, paid):
        choice = select_at_multiplier(success, paid, multiplier)
        spend = paid[rows, choice].sum()
        if spend <= budget and score[rows, choice].mean() > best:
            best = score[rows, choice].mean()
    free = paid[rows, select_at_multiplier(success, cost, 0.0)].sum()
    return (
        pacer.spent_usd / budget,
        float(pacer.spent_usd > budget),
        best - earned / len(success),
        float(free > budget),
    )


def run_foreign_streams(recorded: Path, cache: Path, console: Console) -> np.ndarray:
    """Train on mmlu, stream mmlu_pro, whose questions are left out of the training."""
    embedder = load_embedder("wordllama", cache_dir=cache)
    mmlu = load_recorded(recorded / "mmlu").only(list(SHARED)).answered()
    foreign = load_recorded(recorded / "mmlu_pro").only(list(SHARED.values())).answered()
    first_lines = {text.split("\n")[0] for text in foreign.texts}
    mmlu = mmlu.take(np.array([text.split("\n")[0] not in first_lines for text in mmlu.texts]))
    examples = Examples(read_queries(mmlu.texts, embedder), mmlu)
    split = split_by_text(mmlu.texts, seed=0)
    predictor = build_predictor("stack").fit(examples.take(split.train), examples.take(split.validation))
    whole = np.isfinite(foreign.score).all(axis=1)
    foreign = foreign.take(whole)
    success = predictor.predict(read_queries(foreign.texts, embedder))
    known = predictor.predict(examples.queries.take(split.validation[:384]))
    prior = (known, np.broadcast_to(np.nanmean(mmlu.cost_usd, axis=0), known.shape))
    return run_streams(
        success, foreign.score, foreign.cost_usd, foreign.domains, "bursts", console, 200, prior
    )


def add_row(table: Table, name: str, runs: np.ndarray) -> None:
    binding = runs[runs[:, 3] > 0] if (runs[:, 3] > 0).any() else runs
    table.add_row(
        name,
        str(len(runs)),
        str(int(runs[:, 1].sum())),
        f"{binding[:, 0].min():.1%}",
        f"{binding[:, 0].mean():.1%}",
        f"{100 * runs[:, 2].mean():+.2f}",
        f"{100 * runs[:, 2].max():+.2f}",
    )
