"""Budgets over 1,000 random streams: orders, shifts of domain, bursts, mispricing, a foreign benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.routing_data import Pool, load_pool, load_recorded
from orchestrator import load_embedder
from orchestrator.predictors.registry import build_predictor
from orchestrator.selection.budget_pacer import BudgetPacer
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.hull import convex_hull, hull_value
from orchestrator.text.queries import Examples, read_queries
from orchestrator.text.splits import split_by_text

STREAMS = 1_000
LENGTH = 1_000
SETTINGS = 150  # fixed multipliers compared with in hindsight
PAYS = 0.1  # points of accuracy: one more right answer in 1,000
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
        "pays in",
        "least used there",
        "mean used",
        "regret mean ±95%",
        "worst",
        "expected regret worst",
        title=f"budgets over streams of {LENGTH:,} recorded outcomes",
        caption=(
            "pays in: streams where the last 3% of the budget would buy the best fixed multiplier one more "
            "right answer in 1,000; regret to the best fixed multiplier in hindsight, in points"
        ),
    )
    for name in ("A", "D"):
        outcomes = load_pool(recorded, pools[name])
        complete = np.isfinite(outcomes.score).all(axis=1)
        examples = Examples(
            read_queries(outcomes.texts, load_embedder("wordllama", cache_dir=cache)), outcomes
        )
        split = split_by_text(outcomes.prompts, seed=0)
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


@dataclass(frozen=True)
class StreamRun:
    """One stream against the best fixed multiplier in hindsight."""

    used: float  # spend / budget
    gain_of_last: float  # points that the last 3% of the budget would buy the best fixed multiplier
    regret: float  # points of accuracy
    expected_regret: float  # the same in predicted success, free of the luck of single answers


def run_streams(
    success: np.ndarray,
    score: np.ndarray,
    cost: np.ndarray,
    domains: np.ndarray,
    kind: str,
    console: Console,
    streams: int = STREAMS // (2 * len(KINDS)),
    prior: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[StreamRun]:
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
    return out


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
    overrun: np.ndarray | None = None,
    forecast_is_ceiling: bool = False,
) -> StreamRun:
    """One stream whose answers nobody can bound beforehand: ceilings are derived, or the bare forecasts."""
    pacer = BudgetPacer(
        budget, len(success), sample_success=prior[0], sample_cost_usd=prior[1], overrun=overrun
    )
    rows = np.arange(len(success))
    earned = expected = 0.0
    for i in rows:
        reservation = pacer.reserve(success[i], cost[i], ceiling_usd=cost[i] if forecast_is_ceiling else None)
        if reservation is not None:
            j = reservation.expert
            pacer.settle(reservation, expected_usd=cost[i, j], paid_usd=paid[i, j])
            earned, expected = earned + score[i, j], expected + success[i, j]
    frontier = find_frontier(success, paid)
    compared = frontier.thin(SETTINGS)
    spend = frontier.cost_usd[compared] * len(rows)
    hoped, reached = frontier.success[compared], frontier.mean_of(score)[compared]
    within = spend <= budget
    hull = convex_hull(spend, hoped)
    last = hull_value(np.array([budget, 0.97 * budget]), *hull)
    return StreamRun(
        used=pacer.spent_usd / budget,
        gain_of_last=float(np.nan_to_num(100 * (last[0] - last[1]))),
        regret=100 * (reached[within].max(initial=0.0) - earned / len(rows)),
        expected_regret=100 * (hoped[within].max(initial=0.0) - expected / len(rows)),
    )


def run_foreign_streams(recorded: Path, cache: Path, console: Console) -> list[StreamRun]:
    """Train on mmlu, stream mmlu_pro, whose questions are left out of the training."""
    embedder = load_embedder("wordllama", cache_dir=cache)
    mmlu = load_recorded(recorded / "mmlu").only(list(SHARED)).answered()
    foreign = load_recorded(recorded / "mmlu_pro").only(list(SHARED.values())).answered()
    first_lines = {text.split("\n")[0] for text in foreign.texts}
    mmlu = mmlu.take(np.array([text.split("\n")[0] not in first_lines for text in mmlu.texts]))
    examples = Examples(read_queries(mmlu.texts, embedder), mmlu)
    split = split_by_text(mmlu.prompts, seed=0)
    predictor = build_predictor("stack").fit(examples.take(split.train), examples.take(split.validation))
    whole = np.isfinite(foreign.score).all(axis=1)
    foreign = foreign.take(whole)
    success = predictor.predict(read_queries(foreign.texts, embedder))
    known = predictor.predict(examples.queries.take(split.validation[:384]))
    prior = (known, np.broadcast_to(np.nanmean(mmlu.cost_usd, axis=0), known.shape))
    return run_streams(
        success, foreign.score, foreign.cost_usd, foreign.domains, "bursts", console, 200, prior
    )


def add_row(table: Table, name: str, runs: list[StreamRun]) -> None:
    used, gain, regret, expected = (
        np.array([getattr(run, key) for run in runs])
        for key in ("used", "gain_of_last", "regret", "expected_regret")
    )
    pays = gain >= PAYS
    table.add_row(
        name,
        str(len(runs)),
        str(int((used > 1).sum())),
        str(int(pays.sum())),
        f"{used[pays].min():.1%}" if pays.any() else "-",
        f"{used.mean():.1%}",
        f"{regret.mean():+.2f} ±{1.96 * regret.std() / len(runs) ** 0.5:.2f}",
        f"{regret.max():+.2f}",
        f"{expected.max():+.2f}",
    )
