"""What limits routing on a pool: too few questions to learn from, or answers that no text foretells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool
from orchestrator import load_embedder, read_queries
from orchestrator.evaluation import metrics
from orchestrator.predictors.base import contrast_loss
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.registry import build_predictor
from orchestrator.selection.frontier import find_frontier
from orchestrator.text.queries import Examples
from orchestrator.text.splits import split_by_text

SHARES = (0.125, 0.25, 0.5, 1.0)  # of the training questions


def print_limits(
    recorded: Path, pools: list[Pool], embedder: str, cache: Path, console: Console, seeds: int = 2
) -> None:
    """Print, per pool, the learning curve of the stack and where the way to the oracle is lost."""
    table = Table(
        "pool", *(f"{share:g} of the questions" for share in SHARES), "contrasts explained", "oracle",
        "oracle, chance alone",
        title="lift over the zero-router in AIQ over log cost, in points",
        caption=(
            "contrasts explained: of the variance of who does better than the rest; oracle, chance alone: "
            "what picking the right answers afterwards gains if answers are drawn from the predicted success"
        ),
    )  # fmt: skip
    for pool in pools:
        outcomes = load_pool(recorded, pool)
        examples = Examples(read_queries(outcomes.texts, load_embedder(embedder, cache_dir=cache)), outcomes)
        found = np.mean([measure(examples, seed) for seed in range(seeds)], axis=0)
        lifts, explained, oracle, chance = found[: len(SHARES)], *found[len(SHARES) :]
        table.add_row(
            pool.name,
            *(f"{100 * lift:+.2f}" for lift in lifts),
            f"{explained:.1%}",
            f"{100 * oracle:+.1f}",
            f"{100 * chance:+.1f}",
        )
    console.print(table)


def measure(examples: Examples, seed: int) -> np.ndarray:
    """Lifts by share of the training questions, contrasts explained, lift of both oracles."""
    split = split_by_text(examples.outcomes.prompts, seed=seed)
    whole = np.isfinite(examples.outcomes.score).all(axis=1)
    test = examples.take(split.test[whole[split.test]])
    score, cost = test.outcomes.score, test.outcomes.cost_usd
    rng = np.random.default_rng(seed)
    order, validation = rng.permutation(split.train), examples.take(split.validation)
    out = []
    for share in SHARES:
        train = examples.take(order[: int(share * len(order))])
        predictor = build_predictor("stack").fit(train, validation, seed=seed)
        success = predictor.predict(test.queries)
        expected_cost = CostPredictor().fit(train, validation).predict(test.queries)
        out.append(lift(success, expected_cost, score, cost))
    mean = np.broadcast_to(np.nanmean(train.outcomes.score, axis=0), score.shape)
    explained = 1 - contrast_loss(success, score) / contrast_loss(mean, score)
    drawn = (rng.random(success.shape) < success).astype(np.float32)
    return np.array([*out, explained, lift(score, cost, score, cost), lift(drawn, cost, drawn, cost)])


def lift(success: np.ndarray, expected_cost: np.ndarray, score: np.ndarray, cost: np.ndarray) -> float:
    frontier = find_frontier(success, expected_cost)
    points = frontier.mean_of(cost), frontier.mean_of(score)
    single = cost.mean(axis=0), score.mean(axis=0)
    return metrics.aiq(*points, *single, log_cost=True) - metrics.aiq(*single, *single, log_cost=True)
