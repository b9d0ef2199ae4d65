"""Cascade on recorded answers: two cheap experts are asked, their agreement is the confidence."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool
from orchestrator import load_embedder, metrics
from orchestrator.cascade import CascadePolicy
from orchestrator.evaluate import multiplier_grid
from orchestrator.persistence import build_predictor
from orchestrator.queries import Examples, read_queries
from orchestrator.splits import split_by_text

CHEAP = 5  # pairs are made of the cheapest experts whose letters were recorded


def print_cascade(recorded: Path, pools: list[Pool], cache: Path, console: Console, seeds: int = 5) -> None:
    table = Table("pool", "zero-router", "stack", "stack + cascade", "gain [95%]", title="AIQ over log cost")
    for pool in pools:
        outcomes = load_pool(recorded, pool)
        outcomes = outcomes.take(np.isfinite(outcomes.score).all(axis=1))
        letters = read_letters(recorded / pool.benchmark, outcomes.question_ids, outcomes.experts)
        examples = Examples(
            read_queries(outcomes.texts, load_embedder("wordllama", cache_dir=cache)), outcomes
        )
        weights = np.vstack([np.ones(len(outcomes)), metrics.question_weights(len(outcomes), 300, seed=0)])
        values = np.mean(
            [evaluate_seed(examples, letters, weights, seed) for seed in range(seeds)], axis=0
        )  # [3, replicates]
        gain = 100 * (values[2] - values[1])
        low, high = metrics.interval(gain[1:])
        table.add_row(
            pool.name, *(f"{v[0]:.4f}" for v in values), f"{gain[0]:+.2f} [{low:+.2f}, {high:+.2f}]"
        )
    console.print(table)


def read_letters(folder: Path, question_ids: np.ndarray, experts: tuple[str, ...]) -> np.ndarray:
    answers = pd.read_parquet(folder / "answers.parquet", columns=["question_id", "expert", "response"])
    wide = answers.pivot_table(index="question_id", columns="expert", values="response", aggfunc="first")
    return wide.reindex(index=question_ids, columns=list(experts)).to_numpy(object)


def evaluate_seed(examples: Examples, letters: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    outcomes = examples.outcomes
    split = split_by_text(outcomes.texts, seed=seed)
    predictor = build_predictor("stack").fit(examples.take(split.train), examples.take(split.validation))
    success = predictor.predict(examples.queries)
    score, cost = outcomes.score, outcomes.cost_usd
    recorded = [j for j in np.argsort(cost.mean(axis=0)) if pd.notna(letters[:, j]).mean() > 0.9][:CHEAP]
    columns = [(success, score, cost, np.full_like(score, np.nan))]
    for one, other in combinations(recorded, 2):
        better = one if score[split.train, one].mean() >= score[split.train, other].mean() else other
        agree = (letters[:, one] == letters[:, other]).astype(float)
        both = cost[:, one] + cost[:, other]
        columns.append((success[:, better, None], score[:, better, None], both[:, None], agree[:, None]))
    wide_success, wide_score, wide_cost, confidence = (np.hstack(part) for part in zip(*columns, strict=True))
    # half of validation teaches what agreement means, half chooses whom to ask first
    fit, choose, test = split.validation[::2], split.validation[1::2], split.test
    policy = CascadePolicy().fit(wide_success[fit], confidence[fit], wide_score[fit])
    plain, cascade = [], []
    for multiplier in multiplier_grid(success[choose], cost[choose])[:-1]:
        everything = (wide_success, wide_cost, confidence, wide_score)
        first = policy.choose_first(*(a[choose] for a in everything), multiplier)
        for kept, start in ((plain, None), (cascade, first)):
            result = policy.run(start, *(a[test] for a in everything), multiplier)
            kept.append((result.score, result.cost_usd))
    weight = weights[:, test] / weights[:, test].sum(axis=1, keepdims=True)
    single = weight @ cost[test], weight @ score[test]
    out = [[metrics.aiq(c, q, c, q, log_cost=True) for c, q in zip(*single, strict=True)]]
    for kept in (plain, cascade):
        q, c = (weight @ np.array(part).T for part in zip(*kept, strict=True))
        out.append([metrics.aiq(*row, log_cost=True) for row in zip(c, q, *single, strict=True)])
    return np.array(out)
