"""The explorer on recorded outcomes: ``python -m bench.explore [RECORDED]``.

How good a router is when only a share of all-on-all's dollars was spent on answers to learn from: the
explorer against random questions (everyone is asked) and random pairs at the same spend. "Completed" rows
fill in what was not bought by what is expected of it. Splits by text 60/20/20, five seeds that test every
question once; answers are bought among train and validation alone, in waves, and every setting is chosen
there. Differences to all-on-all are paired, with 95% bootstrap intervals over questions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, add_recorded_argument, load_pool, read_pools
from orchestrator import (
    CostPredictor,
    Examples,
    KnnPredictor,
    load_embedder,
    read_queries,
)
from orchestrator.evaluation.improvement import accuracy_at_cost
from orchestrator.evaluation.metrics import aiq, interval, question_weights
from orchestrator.selection.explorer import choose_pairs, complete_scores, group_questions
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.sweep import points_of
from orchestrator.text.splits import Split, split_by_text
from warehouse import LeerooError, Outcomes

SHARES = (0.1, 0.25, 0.5)  # of the cost of all answers to the training questions
WAVES = 4  # a round of questions each
ALL, EXPLORER, QUESTIONS, PAIRS = "all-on-all", "explorer", "random questions", "random pairs"
MEASURES = ("AIQ, log cost", "accuracy at half price", "accuracy at full price")
TUNING = {"neighbours": (50, 100, 200, 400), "temperatures": (float("inf"),), "part": 0}

Mask = NDArray[np.bool_]
Buy = Callable[["Shop", float], Mask]


@dataclass(frozen=True)
class Shop:
    """The training part of a split: whose answers can be bought, at which price."""

    examples: Examples
    price: NDArray[np.float64]  # [n, m] expected cost
    asked: Mask  # [n, m] recorded, hence to be had
    seed: int


def buy_explored(shop: Shop, budget: float) -> Mask:
    outcomes = shop.examples.outcomes
    groupings = group_questions(shop.examples.queries, outcomes.domains, seed=shop.seed)
    bought = np.zeros_like(shop.asked)
    for wave in range(1, WAVES + 1):
        spent = float(outcomes.cost_usd[bought].sum())
        known = np.where(bought, outcomes.score, np.nan)
        bought |= choose_pairs(
            groupings, known, shop.price, max(budget * wave / WAVES - spent, 0.0), askable=shop.asked,
            seed=shop.seed,
        )  # fmt: skip
    return bought


def buy_questions(shop: Shop, budget: float) -> Mask:
    order = np.random.default_rng(shop.seed).permutation(len(shop.asked))
    cost = np.where(shop.asked, shop.examples.outcomes.cost_usd, 0).sum(axis=1)
    bought = np.zeros_like(shop.asked)
    bought[order[np.cumsum(cost[order]) <= budget]] = True
    return bought & shop.asked


def buy_pairs(shop: Shop, budget: float) -> Mask:
    pairs = np.flatnonzero(shop.asked.ravel())
    pairs = np.random.default_rng(shop.seed).permutation(pairs)
    affordable = np.cumsum(shop.examples.outcomes.cost_usd.ravel()[pairs]) <= budget
    bought = np.zeros(shop.asked.size, bool)
    bought[pairs[affordable]] = True
    return bought.reshape(shop.asked.shape)


POLICIES: dict[str, Buy] = {EXPLORER: buy_explored, QUESTIONS: buy_questions, PAIRS: buy_pairs}
COMPLETED = ", completed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_recorded_argument(parser)
    parser.add_argument("--pools", default="ABCDEF")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--replicates", type=int, default=300, help="bootstrap samples")
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    parser.add_argument("--embedder", default="minilm-int8+wordllama")
    parser.add_argument("--cache", type=Path, default=Path(".leeroo/cache/embeddings"))
    parser.add_argument("--out", type=Path, default=Path(".leeroo/bench/explore"))
    arguments = parser.parse_args()
    console = Console(width=150)
    try:
        pools = read_pools(arguments.recorded)
    except LeerooError as error:
        sys.exit(str(error))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.pools:
        compare(pools[name], arguments, console)


def compare(pool: Pool, arguments: argparse.Namespace, console: Console) -> None:
    started = time.perf_counter()
    outcomes = load_pool(arguments.recorded, pool)
    queries = read_queries(outcomes.texts, load_embedder(arguments.embedder, cache_dir=arguments.cache))
    examples = Examples(queries, outcomes)
    weights = question_weights(len(outcomes), arguments.replicates, seed=0)
    values: dict[tuple[str, float], list[NDArray[np.float64]]] = {}
    spent: dict[tuple[str, float], list[float]] = {}
    shares = [float(share) for share in arguments.shares.split(",")]
    for seed in range(arguments.seeds):
        split = split_by_text(outcomes.prompts, seed=seed)
        seen = np.sort(np.concatenate([split.train, split.validation]))
        training = examples.take(seen)
        asked = np.isfinite(training.outcomes.score) & np.isfinite(training.outcomes.cost_usd)
        price = np.where(asked, training.outcomes.cost_usd, 0).sum(axis=0) / asked.sum(axis=0)
        shop = Shop(training, np.broadcast_to(price, asked.shape).copy(), asked, seed)
        full = float(training.outcomes.cost_usd[asked].sum())
        values.setdefault((ALL, 1.0), []).append(judge(examples, seen, asked, split, weights, fill=True))
        for name in arguments.policies.split(","):
            for share in shares:
                bought = POLICIES[name](shop, share * full)
                paid = float(training.outcomes.cost_usd[bought].sum()) / full
                for suffix, fill in ((COMPLETED, True), ("", False)):
                    measured = judge(examples, seen, bought, split, weights, fill=fill)
                    values.setdefault((name + suffix, share), []).append(measured)
                    spent.setdefault((name + suffix, share), []).append(paid)
    means = {key: np.mean(parts, axis=0) for key, parts in values.items()}  # [measures, 1 + replicates]
    table = Table(
        "asked", "spend", *MEASURES,
        title=f"pool {pool.name} ({pool.benchmark}): {len(outcomes.experts)} experts,"
        f" {len(outcomes):,} questions, {time.perf_counter() - started:.0f} s",
    )  # fmt: skip
    base = means[ALL, 1.0]
    table.add_row(ALL, "100%", *(f"{100 * value:.2f}" for value in base[:, 0]))
    for (name, share), value in means.items():
        if name != ALL:
            table.add_row(
                name,
                f"{np.mean(spent[name, share]):.1%}",
                *(show_difference(v - b) for v, b in zip(value, base, strict=True)),
            )
    console.print(table)
    found = [
        {
            "asked": name,
            "share": share,
            "spent": float(np.mean(spent.get((name, share), 1.0))),
            "measure": measure,
            "value": float(value[i, 0]),
            "difference": float(value[i, 0] - base[i, 0]),
            "interval": interval(value[i, 1:] - base[i, 1:]),
        }
        for (name, share), value in means.items()
        for i, measure in enumerate(MEASURES)
    ]
    (arguments.out / f"{pool.name}.json").write_text(json.dumps(found, indent=1) + "\n")


def judge(
    examples: Examples,
    seen: NDArray[np.intp],
    bought: Mask,
    split: Split,
    weights: NDArray[np.float64],
    fill: bool,
) -> NDArray[np.float64]:
    """Train on what was bought; return the measures [3, 1 + replicates] on the test questions."""
    known = mask_outcomes(examples.outcomes.take(seen), bought)
    queries = examples.queries.take(seen)
    rows = np.flatnonzero(np.isfinite(known.score).any(axis=1))
    if fill:
        known = replace(known, score=complete_scores(group_questions(queries, known.domains), known.score))
        rows = np.arange(len(known))
    learned = Examples(queries.take(rows), known.take(rows))
    is_validation = np.isin(seen[rows], split.validation)
    train, validation = (
        learned.take(np.flatnonzero(~is_validation)),
        learned.take(np.flatnonzero(is_validation)),
    )
    predictor = KnnPredictor(**TUNING).fit(train, validation).refit(learned)
    cost_model = CostPredictor().fit(train, validation)
    complete = np.isfinite(examples.outcomes.score).all(axis=1)
    test = split.test[complete[split.test]]
    success = predictor.predict(examples.queries.take(test))
    cost = cost_model.predict(examples.queries.take(test))
    outcomes = examples.outcomes.take(test)
    frontier = find_frontier(success, cost)
    points = points_of(frontier.choose(frontier.settings()), outcomes.score, outcomes.cost_usd)
    here = np.vstack([np.ones(len(test)), weights[:, test]])
    here /= here.sum(axis=1, keepdims=True)
    single = here @ outcomes.score, here @ outcomes.cost_usd
    curve = here @ points.score.T, here @ points.cost_usd.T
    best_price = float(outcomes.cost_usd.mean(axis=0)[outcomes.score.mean(axis=0).argmax()])
    areas = [
        aiq(c, q, sc, sq, log_cost=True)
        for q, c, sq, sc in zip(*curve, *single, strict=True)
    ]  # fmt: skip
    at = [accuracy_at_cost(points.score, points.cost_usd, share * best_price, here) for share in (0.5, 1.0)]
    return np.array([areas, *at])


def mask_outcomes(outcomes: Outcomes, kept: Mask) -> Outcomes:
    return replace(
        outcomes,
        score=np.where(kept, outcomes.score, np.nan).astype(np.float32),
        cost_usd=np.where(kept, outcomes.cost_usd, np.nan),
    )


def show_difference(difference: NDArray[np.float64]) -> str:
    low, high = interval(difference[1:])
    return f"{100 * difference[0]:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


if __name__ == "__main__":
    main()
