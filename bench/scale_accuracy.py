"""What choosing settings on a draw costs, in points of AIQ: ``python -m bench.scale_accuracy [RECORDED]``.

The pools are far below the size from which a draw is used. So the draw is made as small, beside the pool, as
it would be beside a million questions and smaller. ``cells`` looks for neighbours as that size does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

import orchestrator.predictors.knn as knn
from bench.routing_data import add_recorded_argument, load_pool, read_pools
from orchestrator.evaluation.metrics import aiq
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.registry import build_predictor
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.sweep import points_of
from orchestrator.text import cells
from orchestrator.text.queries import Examples, read_queries
from orchestrator.text.registry import load_embedder
from orchestrator.text.splits import split_by_text, thin


@dataclass(frozen=True)
class Arm:
    """One way to train: the share of questions that chooses settings, and rows that a query looks at."""

    name: str
    share: float
    looked_rows: int | None = None  # None: all


ARMS = (Arm("all", 1), Arm("a half", 0.5), Arm("a tenth", 0.1), Arm("a tenth, cells", 0.1, 1_024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_recorded_argument(parser)
    parser.add_argument("--pools", default="ABCDEF")
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    pools = read_pools(chosen.recorded)
    table = Table(
        "pool", "AIQ", *(arm.name for arm in ARMS[1:]), title="points less than with all, standard error"
    )
    for name in chosen.pools:
        outcomes = load_pool(chosen.recorded, pools[name])
        everything = Examples(read_queries(outcomes.texts, load_embedder("wordllama")), outcomes)
        found = np.array([[measure(everything, arm, seed) for arm in ARMS] for seed in range(chosen.seeds)])
        lost = 100 * (found[:, 1:] - found[:, :1])
        error = lost.std(axis=0, ddof=1) / len(lost) ** 0.5 if len(lost) > 1 else np.zeros(lost.shape[1])
        shown = [f"{mean:+.2f} ({one:.2f})" for mean, one in zip(lost.mean(axis=0), error, strict=True)]
        table.add_row(name, f"{found[:, 0].mean():.4f}", *shown)
        print(name, f"{found[:, 0].mean():.4f}", *shown, flush=True)
    Console(width=100).print(table)


def measure(everything: Examples, arm: Arm, seed: int) -> float:
    """AIQ over log cost of the default predictor on one split's test questions."""
    outcomes = everything.outcomes
    split = split_by_text(outcomes.prompts, seed=seed)
    seen = np.sort(np.concatenate([split.train, split.validation]))
    drawn = thin(seen, np.isfinite(outcomes.score), int(arm.share * len(seen)), seed=seed)
    train, held_out = (
        everything.take(np.intersect1d(part, drawn)) for part in (split.train, split.validation)
    )
    with looking_at(arm.looked_rows):
        predictor = build_predictor("stack").fit(train, held_out, seed=seed)
        cost = CostPredictor().fit(train, held_out)
        grid = find_frontier(predictor.predict(held_out.queries), cost.predict(held_out.queries)).settings()
        test = split.test[np.isfinite(outcomes.score[split.test]).all(axis=1)]
        queries = everything.queries.take(test)
        success = predictor.refit(everything.take(seen)).predict(queries)
    score, cost_usd = outcomes.score[test], outcomes.cost_usd[test]
    points = points_of(find_frontier(success, cost.predict(queries)).choose(grid), score, cost_usd)
    return aiq(
        points.cost_usd.mean(axis=1),
        points.score.mean(axis=1),
        cost_usd.mean(axis=0),
        score.mean(axis=0),
        log_cost=True,
    )


@contextmanager
def looking_at(rows: int | None) -> Iterator[None]:
    """Let a kNN look for neighbours in cells of so many rows."""
    before = knn.FROM_ROWS, cells.LOOKED_ROWS
    knn.FROM_ROWS, cells.LOOKED_ROWS = (10**9, before[1]) if rows is None else (0, rows)
    try:
        yield
    finally:
        knn.FROM_ROWS, cells.LOOKED_ROWS = before


if __name__ == "__main__":
    main()
