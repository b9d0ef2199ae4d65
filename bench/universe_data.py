"""Outcome tables for the universe bench: recorded answers, held-out splits, large generated tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from orchestrator.cost import CostPredictor
from orchestrator.embedding import load_embedder
from orchestrator.knn import KnnPredictor
from orchestrator.queries import Examples, Queries, read_queries
from universe.expected import Expected, Rows, cross_fit
from warehouse import Outcomes, router_text


def load_recorded(folder: Path, experts: Sequence[str] | None = None) -> Outcomes:
    """Recorded answers (questions, answers and experts files) as outcomes; flat price per expert."""
    questions = pd.read_parquet(folder / "questions.parquet").sort_values("question_id")
    answers = pd.read_parquet(folder / "answers.parquet")
    prices = pd.read_csv(folder / "experts.csv").set_index("expert")
    names = list(experts) if experts else sorted(prices.index)
    score = answers.pivot_table(index="question_id", columns="expert", values="correct").reindex(
        index=questions["question_id"], columns=names
    )
    if folder.name == "mmlu":
        usd_per_mtok = prices.loc[names, "usd_per_mtok_in"]
    else:
        usd_per_mtok = (
            0.75 * prices.loc[names, "usd_per_mtok_in"] + 0.25 * prices.loc[names, "usd_per_mtok_out"]
        )
    cost = usd_per_mtok.to_numpy(float) * 500 / 1e6  # 500 tokens a query
    shape = score.shape
    choices = [list(c) for c in questions["choices"]] if "choices" in questions else [None] * len(questions)
    blank = np.full(shape, np.nan, dtype=np.float32)
    return Outcomes(
        question_ids=questions["question_id"].to_numpy(str),
        texts=tuple(router_text(q, c) for q, c in zip(questions["question"], choices, strict=True)),
        sources=np.full(len(questions), folder.name),
        domains=questions["domain"].to_numpy(str),
        subjects=questions["subject"].to_numpy(str),
        chance=np.array([1 / len(c) if c is not None else 0.0 for c in choices], dtype=np.float32),
        experts=tuple(names),
        score=score.to_numpy(np.float32),
        cost_usd=np.tile(cost, (shape[0], 1)),
        prompt_tokens=blank,
        completion_tokens=blank,
        latency_s=blank,
    )


def load_pool(recorded: Path, name: str) -> Outcomes:
    """A pool of the routing benchmark by its letter, or ``mmlu_pro`` for all its experts."""
    pools = yaml.safe_load((recorded / "pools.yaml").read_text())
    if name in pools:
        return load_recorded(recorded / pools[name]["benchmark"], pools[name]["experts"]).answered()
    return load_recorded(recorded / name).answered()


@dataclass(frozen=True)
class HeldOut:
    """What a chooser may see (train) and what it is judged by (test)."""

    train: Outcomes
    expected_train: Expected  # cross-fitted within train
    test: Outcomes
    expected_test: Expected  # predicted from train


def fit_predict(
    fit: Examples, queries: Queries, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tuned kNN success and ridge cost; a fifth of the examples is kept aside to tune."""
    order = np.random.default_rng(seed).permutation(len(fit))
    tune = len(order) // 5
    knn = KnnPredictor().fit(fit.take(order[tune:]), fit.take(order[:tune]), seed=seed)
    cost = CostPredictor().fit(fit.take(order[tune:]), fit.take(order[:tune]))
    return knn.predict(queries).astype(float), cost.predict(queries)


def read_examples(outcomes: Outcomes, cache: Path) -> Examples:
    """Embedded questions with their outcomes."""
    return Examples(read_queries(outcomes.texts, load_embedder("wordllama", cache_dir=cache)), outcomes)


def expect(examples: Examples, cache: Path, seed: int = 0) -> Expected:
    """Cross-fitted expectation of all questions, cached."""
    path = cache / f"expected-{examples.outcomes.fingerprint()}-{seed}.npz"
    if path.exists():
        stored = np.load(path)
        return Expected(stored["score"], stored["cost"])

    def predict(train: Rows, test: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return fit_predict(examples.take(train), examples.queries.take(test), seed)

    expected = cross_fit(examples.outcomes, predict, folds=4, seed=seed)
    np.savez(path, score=expected.score, cost=expected.cost_usd)
    return expected


def hold_out(examples: Examples, cache: Path, seed: int) -> HeldOut:
    """Split 60/40 by text; expectations on the test part come from the train part alone."""
    outcomes = examples.outcomes
    _, text = np.unique(outcomes.normalised_texts(), return_inverse=True)
    in_train = np.random.default_rng(seed).random(text.max() + 1)[text] < 0.6
    train, test = np.flatnonzero(in_train), np.flatnonzero(~in_train)
    fit = examples.take(train)
    path = cache / f"heldout-{outcomes.fingerprint()}-{seed}.npz"
    if path.exists():
        stored = np.load(path)
        expected_test = Expected(stored["score"], stored["cost"])
    else:
        score, cost = fit_predict(fit, examples.queries.take(test), seed)
        expected_test = Expected(np.clip(score, 0, 1), np.maximum(cost, 0))
        np.savez(path, score=expected_test.score, cost=expected_test.cost_usd)
    return HeldOut(fit.outcomes, expect(fit, cache, seed), outcomes.take(test), expected_test)


def generate_table(
    outcomes: Outcomes, *, questions: int, experts: int, rank: int = 8, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.str_]]:
    """A larger table with the low-rank structure of a real one: expected score [n, m], cost [m], domains [n].

    Logit-free: outcomes = expert means + singular vectors; new questions are drawn from the question factors
    with noise, new experts from convex mixes of the experts' factors, residual noise is added and clipped.
    """
    rng = np.random.default_rng(seed)
    mean = np.nanmean(outcomes.score, axis=0)
    filled = np.where(np.isfinite(outcomes.score), outcomes.score, mean) - mean
    u, s, vt = np.linalg.svd(filled, full_matrices=False)
    question_factor, expert_factor = u[:, :rank] * s[:rank], vt[:rank]
    parents = rng.dirichlet(np.full(len(mean), 0.15), experts)
    row = rng.integers(0, len(question_factor), questions)
    factor = question_factor[row] + rng.normal(0, 0.3, (questions, rank)) * question_factor.std(axis=0)
    score = np.empty((questions, experts), dtype=np.float32)
    for start in range(0, questions, 10_000):
        part = slice(start, start + 10_000)
        low = parents @ mean + 0.7 * factor[part] @ (parents @ expert_factor.T).T
        score[part] = np.clip(low + rng.normal(0, 0.05, low.shape), 0, 1)
    cost = np.exp(parents @ np.log(outcomes.cost_usd[0]) + rng.normal(0, 0.3, experts))
    return score, cost, outcomes.domains[row]
