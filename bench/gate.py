"""How often the gate promotes a worse challenger: ``python -m bench.gate [--simulations N]``.

The whole gate: held-out questions and explored traffic; a challenger has to win one and to lose neither. In
each simulation champion and challenger are one router with different mistakes, so that either may be the
better one, mostly by little; the truth is known, as the made-up experts' chances are. Questions, traffic and
ratings are drawn anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "orchestrator"))

from synthetic import TOPICS, make_outcomes
from traffic_tables import serve_made_traffic

from orchestrator import Orchestrator, train_router
from orchestrator.off_policy.evidence import weigh_traffic
from orchestrator.off_policy.read import read_traffic
from orchestrator.selection.value import net_value
from orchestrator.text.queries import Queries, read_queries
from orchestrator.versions.promotion import Comparison, compare_held_out
from warehouse import Warehouse

MISTAKES = 0.12  # standard deviation of what is added to forecasts
MULTIPLIER = 100.0
TOLD = 3_000  # questions on which the truth is measured


class Mistaken:
    """Another predictor, off by something that depends on the query."""

    kind = "mistaken"

    def __init__(self, router: Orchestrator, seed: int) -> None:
        self._base, self.experts = router.predictor, router.experts
        rng = np.random.default_rng(seed)
        self._axes = rng.normal(0, MISTAKES, (router.embedder.dim, len(self.experts))).astype(np.float32)

    def predict(self, queries: Queries) -> np.ndarray:
        return np.clip(self._base.predict(queries) + queries.embeddings @ self._axes, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--questions", type=int, default=500, help="a fifth of them is held out")
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    base = train_router(make_outcomes(missing=0.1), embedder="wordllama").orchestrator
    base = replace(base, multiplier=MULTIPLIER)
    told = make_outcomes(TOLD, seed=1)
    seen = read_queries(told.texts, base.embedder)
    chance = np.where(told.domains[:, None] == np.array(sorted(TOPICS)), 0.9, 0.3)
    chance = np.column_stack([chance, np.full(TOLD, 0.75)])
    rows = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.simulations):
        routers = [replace(base, predictor=Mistaken(base, 2 * seed + side)) for side in (0, 1)]
        values = [value_of(router, seen, chance, told.cost_usd, told.experts) for router in routers]
        held_out, served = judge(routers, seed, arguments.questions, arguments.requests)
        won = bool((held_out and held_out.won) or served.is_better)
        lost = bool((held_out and held_out.lost) or served.is_worse)
        rows.append((values[1] - values[0], won and not lost, held_out is not None, served.value is not None))
    gain, promoted, by_questions, by_traffic = (np.array(column) for column in zip(*rows, strict=True))
    worse = gain < 0
    print(f"{len(rows)} challengers, better by {100 * gain.mean():+.2f} points of value on average, spread "
          f"{100 * gain.std():.2f}; questions spoke in {by_questions.mean():.0%}, traffic in "
          f"{by_traffic.mean():.0%}")  # fmt: skip
    print(f"worse: {worse.sum()}, of them promoted {promoted[worse].sum()}")
    print(f"better: {(~worse).sum()}, of them promoted {promoted[~worse].sum()}")


def value_of(
    router: Orchestrator, queries: Queries, chance: np.ndarray, cost_usd: np.ndarray, experts: tuple[str, ...]
) -> float:
    value = net_value(router.predictor.predict(queries), router.cost.predict(queries), router.multiplier)
    columns = np.array([experts.index(name) for name in router.experts])[value.argmax(axis=1)]
    rows = np.arange(len(columns))
    return float((chance[rows, columns] - router.multiplier * cost_usd[rows, columns]).mean())


def judge(routers: list[Orchestrator], seed: int, questions: int, requests: int) -> tuple:
    """What both witnesses of the gate say of the second router against the first."""
    named = {"champion": routers[0], "challenger": routers[1]}
    held_out: Comparison | None = compare_held_out(named, make_outcomes(questions, seed=1_000 + seed), None)[
        0
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = Warehouse(folder)
        serve_made_traffic(store, ("1", routers[0]), requests=requests, seed=5_000 + seed)
        served = weigh_traffic(read_traffic(store), ("2", routers[1]), ("1", routers[0]))
    return held_out, served


if __name__ == "__main__":
    main()
