"""Outcome tables for the universe bench: recorded answers, held-out splits, large generated tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.routing_data import load_pool, load_recorded, read_pools
from orchestrator import Examples
from orchestrator.text.registry import FAST_EMBEDDER
from pipelines.learning.cross_fitted import fit_predict, read_examples
from universe import Expected, cross_fit
from warehouse import Outcomes, text_keys

SEEDS = 5


def read_outcomes(recorded: Path, name: str) -> Outcomes:
    """A pool of the routing benchmark by its letter, or a benchmark with all its experts by its name."""
    pools = read_pools(recorded)
    return load_pool(recorded, pools[name]) if name in pools else load_recorded(recorded / name).answered()


def read_pool(recorded: Path, name: str, cache: Path) -> Examples:
    """The same, with embedded questions."""
    return read_examples(read_outcomes(recorded, name), FAST_EMBEDDER, cache / "embeddings")


@dataclass(frozen=True)
class HeldOut:
    """What a chooser may see (train) and what it is judged by (test)."""

    train: Outcomes
    expected_train: Expected  # cross-fitted within train
    test: Outcomes
    expected_test: Expected  # predicted from train


def expect(examples: Examples, cache: Path, seed: int = 0) -> Expected:
    """Cross-fitted expectation of all questions, cached."""
    path = cache / f"expected-{examples.outcomes.fingerprint()}-{seed}.npz"
    if not path.exists():
        expected = cross_fit(
            examples.outcomes, lambda train, test: fit_predict(examples, train, test, seed), seed=seed
        )
        np.savez(path, score=expected.score, cost_usd=expected.cost_usd)
    return Expected(**np.load(path))


def hold_out(examples: Examples, cache: Path, seed: int) -> HeldOut:
    """Split 60/40 by text; expectations on the test part come from the train part alone."""
    outcomes = examples.outcomes
    _, text = np.unique(text_keys(outcomes.prompts), return_inverse=True)
    in_train = np.random.default_rng(seed).random(text.max() + 1)[text] < 0.6
    train, test = np.flatnonzero(in_train), np.flatnonzero(~in_train)
    path = cache / f"held-out-{outcomes.fingerprint()}-{seed}.npz"
    if not path.exists():
        score, cost_usd = fit_predict(examples, train, test, seed)
        np.savez(path, score=np.clip(score, 0, 1), cost_usd=cost_usd)
    fit = examples.take(train)
    return HeldOut(fit.outcomes, expect(fit, cache, seed), outcomes.take(test), Expected(**np.load(path)))


def paired_interval(
    differences: Sequence[NDArray[np.float64]], draws: int = 500
) -> tuple[float, float, float]:
    """Mean paired difference and its 95% bootstrap interval, over questions within splits and over splits."""
    rng = np.random.default_rng(0)
    clean = [d[np.isfinite(d)] for d in differences]
    means = []
    for _ in range(draws):
        splits = rng.integers(0, len(clean), len(clean))
        means.append(
            np.mean([clean[s][rng.integers(0, len(clean[s]), len(clean[s]))].mean() for s in splits])
        )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([d.mean() for d in clean])), float(low), float(high)


def show_interval(values: tuple[float, float, float]) -> str:
    """Value and interval, in points."""
    mean, low, high = (100 * v for v in values)
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def generate_table(
    outcomes: Outcomes, *, questions: int, experts: int, rank: int = 8, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.str_]]:
    """A larger table with the low-rank structure of a real one: expected score [n, m], cost [m], domains [n].

    Scores are expert means plus singular vectors: new questions are drawn from the question factors with
    noise, new experts are convex mixes of the experts' factors, residual noise is added and clipped.
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
    cost = np.exp(parents @ np.log(np.nanmean(outcomes.cost_usd, axis=0)) + rng.normal(0, 0.3, experts))
    return score, cost, outcomes.domains[row]
