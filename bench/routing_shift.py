"""Budgets and presets where they were learned, and in a domain that was left out of the learning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool
from bench.routing_streams import LENGTH, StreamRun, run_stream
from bench.routing_unseen import add_unseen_row, measure_unseen, unseen_table
from orchestrator import load_embedder
from orchestrator.predictors.base import Prediction
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.cross_fitting import cross_forecasts
from orchestrator.predictors.registry import build_predictor
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.presets import choose_presets
from orchestrator.text.queries import Examples, read_queries
from orchestrator.text.splits import split_by_text
from warehouse import text_keys

STREAMS = 200  # a pool, in distribution and again foreign
RESAMPLINGS = 200  # of what presets are chosen on
SHARES = (0.1, 0.9)  # budgets lie between these shares of the way from the cheapest choice to no pressure


@dataclass(frozen=True)
class Learned:
    """A router's forecasts of questions that it has not learned from, and what they came to."""

    name: str
    seen: Prediction  # of questions learned from, each by a router that had not: [k, m]
    seen_score: np.ndarray
    seen_cost_usd: np.ndarray
    seen_prompts: np.ndarray  # [k] labels
    success: np.ndarray  # [n, m]
    cost_usd: np.ndarray  # [n, m] forecast
    score: np.ndarray  # [n, m]
    paid_usd: np.ndarray  # [n, m]
    overrun: np.ndarray  # [m]


def learn(examples: Examples, asked: np.ndarray, known: np.ndarray, name: str, seed: int = 0) -> Learned:
    """Learn from the questions ``known`` and forecast those ``asked``, as training a router does."""
    outcomes = examples.outcomes
    whole = np.isfinite(outcomes.score + outcomes.cost_usd).all(axis=1)
    asked, own = asked[whole[asked]], examples.take(known)
    split = split_by_text(own.outcomes.prompts, seed=seed)
    rows = np.concatenate([split.train, split.test])
    predictor = build_predictor("stack").fit(own.take(rows), own.take(split.validation), seed=seed)
    cost = CostPredictor().fit(own.take(rows), own.take(split.validation))
    folds = cross_forecasts(predictor, own, seed=seed)
    kept = whole[known]
    predictor.refit(own)
    queries = examples.queries.take(asked)
    return Learned(
        name,
        Prediction(outcomes.experts, folds[kept], cost.predict(own.queries)[kept]),
        own.outcomes.score[kept],
        own.outcomes.cost_usd[kept],
        text_keys(own.outcomes.prompts)[kept],
        predictor.predict(queries),
        cost.predict(queries),
        outcomes.score[asked],
        outcomes.cost_usd[asked],
        cost.overrun,
    )


def learn_pool(recorded: Path, pool: Pool, cache: Path) -> tuple[Learned, list[Learned]]:
    """A pool's router asked questions like those learned from, and one for each domain left out, asked it."""
    outcomes = load_pool(recorded, pool)
    read = read_queries(outcomes.texts, load_embedder("wordllama", cache_dir=cache))
    examples = Examples(read, outcomes)
    split = split_by_text(outcomes.prompts, seed=0)
    known = np.sort(np.concatenate([split.train, split.validation]))
    usual = learn(examples, split.test, known, "in distribution")
    domains, subjects = outcomes.domains, outcomes.subjects
    label = domains if len(np.unique(domains)) > 1 else subjects
    keys = text_keys(outcomes.prompts)
    foreign = []
    for domain in np.unique(label) if len(np.unique(label)) > 1 else []:
        asked = np.flatnonzero(label == domain)
        others = np.flatnonzero(~np.isin(keys, keys[asked]))
        foreign.append(learn(examples, asked, others, f"{domain} left out"))
    return usual, foreign


def stream(learned: Learned, seed: int, *, forecast_is_ceiling: bool = False) -> StreamRun:
    """One stream of random questions under a random budget, no ceiling given."""
    rng = np.random.default_rng(seed)
    n = len(learned.success)
    order = rng.choice(n, LENGTH, replace=n < LENGTH)
    paid = learned.paid_usd[order]
    cheapest = paid.min(axis=1).sum()
    freely = paid[np.arange(LENGTH), learned.success[order].argmax(axis=1)].sum()
    budget = cheapest + rng.uniform(*SHARES) * (freely - cheapest)
    shown = rng.choice(len(learned.seen.success), min(384, len(learned.seen.success)), replace=False)
    return run_stream(
        learned.success[order],
        learned.score[order],
        learned.cost_usd[order],
        paid,
        budget,
        (learned.seen.success[shown], learned.seen.cost_usd[shown]),
        overrun=learned.overrun,
        forecast_is_ceiling=forecast_is_ceiling,
    )


def add_stream_rows(table: Table, pool: str, kind: str, learned: list[Learned], streams: int) -> None:
    """A row with derived ceilings, and one with the forecast taken for the ceiling."""
    for forecast_is_ceiling in (False, True):
        runs = [
            stream(learned[seed % len(learned)], seed, forecast_is_ceiling=forecast_is_ceiling)
            for seed in range(streams)
        ]
        used, regret = np.array([run.used for run in runs]), np.array([run.regret for run in runs])
        table.add_row(
            f"{pool}, {kind}",
            "the forecast" if forecast_is_ceiling else "derived",
            str(len(runs)),
            str(int((used > 1).sum())),
            f"{used.max():.4f}",
            f"{used.mean():.1%}",
            f"{regret.mean():+.2f} ±{1.96 * regret.std() / len(runs) ** 0.5:.2f}",
        )


def add_preset_rows(table: Table, pool: str, learned: Learned, resamplings: int) -> None:
    """What presets chosen on resamplings promise, and what they come to on questions never learned from."""
    truth = find_frontier(learned.success, learned.cost_usd)
    cost, score = truth.mean_of(learned.paid_usd), truth.mean_of(learned.score)
    best = int(learned.seen_score.mean(axis=0).argmax())
    best_usd, best_score = learned.paid_usd[:, best].mean(), learned.score[:, best].mean()
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(learned.seen_prompts == key) for key in np.unique(learned.seen_prompts)]
    found: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(resamplings):
        drawn = rng.integers(0, len(groups), len(groups))
        rows = np.concatenate([groups[i] for i in drawn])
        labels = np.repeat(np.arange(len(drawn)), [len(groups[i]) for i in drawn])
        seen = learned.seen
        prediction = seen.take(rows)
        presets = choose_presets(
            prediction, learned.seen_score[rows], learned.seen_cost_usd[rows], groups=labels
        )
        for name, preset in presets.items():
            at = int(np.searchsorted(truth.multipliers, preset.multiplier, side="right")) - 1
            expected = preset.expected
            assert expected is not None
            found.setdefault(name, []).append(
                (
                    cost[at] / expected.cost_usd - 1,
                    expected.cost_usd / best_usd,
                    cost[at] / best_usd,
                    score[at] - expected.success,
                    score[at] - best_score,
                )
            )
    for name, rows_found in found.items():
        off, promised, came, surprise, gain = np.array(rows_found).T
        table.add_row(
            pool,
            name,
            f"{(np.abs(off) <= 0.1).mean():.0%}",
            f"{off.mean():+.1%}, worst {off[np.abs(off).argmax()]:+.1%}",
            f"{promised.mean():.2f} ±{promised.std():.2f}",
            f"{came.mean():.2f}",
            f"{100 * surprise.mean():+.2f}",
            f"{100 * gain.mean():+.2f}, worst {100 * gain.min():+.2f}",
        )


def stream_table() -> Table:
    return Table(
        "stream", "ceiling", "streams", "over", "most used", "mean used", "regret, points",
        title=f"budgets of streams of {LENGTH:,} whose answers nobody bounds beforehand",
        caption="regret to the best of 150 fixed multipliers in hindsight",
    )  # fmt: skip


def preset_rows_table() -> Table:
    return Table(
        "pool", "preset", "within a tenth", "price less promise", "promised share of best single's price",
        "came to", "success less promise", "less best single, points",
        title="presets chosen on bootstrap samples, asked questions never learned from",
    )  # fmt: skip


def print_shift(recorded: Path, pools: list[Pool], cache: Path, console: Console) -> None:
    """Print the three tables for some pools."""
    streams, presets, unseen = stream_table(), preset_rows_table(), unseen_table()
    for pool in pools:
        usual, foreign = learn_pool(recorded, pool, cache)
        add_preset_rows(presets, pool.name, usual, RESAMPLINGS)
        add_stream_rows(streams, pool.name, "in distribution", [usual], STREAMS)
        if foreign:
            add_stream_rows(streams, pool.name, "a domain left out", foreign, STREAMS)
        for learned in foreign:
            asked = Prediction(learned.seen.experts, learned.success, learned.cost_usd)
            found = measure_unseen(
                learned.seen,
                learned.seen_score,
                learned.seen_cost_usd,
                asked,
                learned.score,
                learned.paid_usd,
            )
            add_unseen_row(unseen, f"{pool.name}, {learned.name}", found)
    for table in (streams, presets, unseen):
        console.print(table)
