"""Budgets over streams of plans, beside those over single answers: what is reached, and whether they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.routing_bounds import Learned, Questions, learn
from bench.routing_data import Pool, load_pool, load_readings
from orchestrator import load_embedder, read_queries
from orchestrator.asking.learn import asking_multipliers
from orchestrator.asking.pacing import PlanPacer
from orchestrator.asking.policy import Ask, AskingPolicy
from orchestrator.asking.readings import UNREADABLE, Reading, Readings
from orchestrator.asking.replay import replay
from orchestrator.selection.budget_pacer import BudgetPacer
from orchestrator.text.queries import Examples
from orchestrator.text.splits import split_by_text

SHARES = (0.3, 0.5, 1.0, 1.5, 2.0)  # of the best single expert's price, for each query
LENGTH, STREAMS = 400, 5
SAMPLE = 384  # forecasts that set the first price
SETTINGS = 24  # fixed multipliers compared with in hindsight

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Streamed:
    """What came of one stream."""

    score: float  # mean
    used: float  # share of the budget
    asks: float  # mean


def print_plans(recorded: Path, pools: list[Pool], embedder: str, cache: Path, console: Console) -> None:
    """Print, per pool and budget, what pacers of plans and of single answers reach."""
    for pool in pools:
        outcomes = load_pool(recorded, pool)
        examples = Examples(read_queries(outcomes.texts, load_embedder(embedder, cache_dir=cache)), outcomes)
        readings = load_readings(recorded, pool, outcomes)
        found: dict[tuple[float, str], list[Streamed]] = {}
        for share, name, one in stream_plans(examples, readings):
            found.setdefault((share, name), []).append(one)
        table = Table(
            "budget", "pacer", "score ±95%", "used", "most used", "asks",
            title=f"pool {pool.name}: {STREAMS} streams of {LENGTH} recorded answers",
            caption="hindsight: the fixed price on cost that reaches most within the budget",
        )  # fmt: skip
        for (share, name), streams in found.items():
            scores = np.array([one.score for one in streams])
            table.add_row(
                f"{share:g}",
                name,
                f"{scores.mean():.4f} ±{1.96 * scores.std(ddof=1) / len(scores) ** 0.5:.4f}",
                f"{np.mean([one.used for one in streams]):.1%}",
                f"{max(one.used for one in streams):.1%}",
                f"{np.mean([one.asks for one in streams]):.2f}",
            )
        console.print(table)


def stream_plans(examples: Examples, readings: Readings) -> Iterator[tuple[float, str, Streamed]]:
    """Run every kind of pacer over the same streams of questions that nothing was learned from."""
    outcomes = examples.outcomes
    split = split_by_text(outcomes.prompts, seed=0)
    seen = np.sort(np.concatenate([split.train, split.validation]))
    whole = np.isfinite(outcomes.score + outcomes.cost_usd).all(axis=1)
    test = split.test[whole[split.test]]
    learned = learn(examples, readings, seen, split.validation, test, 0)
    known = np.flatnonzero(whole[seen])[:SAMPLE]
    best = int(np.nanmean(outcomes.score[seen], axis=0).argmax())
    price_usd = float(np.nanmean(outcomes.cost_usd[seen, best]))
    for stream in range(STREAMS):
        rows = np.random.default_rng(stream).choice(len(test), min(LENGTH, len(test)), replace=False)
        asked = Questions(outcomes.take(test[rows]), readings.take(test[rows]))
        own = Learned(learned.of_seen.take(known), learned.of_test.take(rows), learned.habits)
        for share in SHARES:
            budget_usd = share * price_usd * len(rows)
            yield share, "plans", pace_plans(own, asked, budget_usd)
            yield share, "one answer", pace_answers(own, asked, budget_usd)
            yield share, "plans, hindsight", best_fixed(own, asked, budget_usd)


def pace_plans(learned: Learned, asked: Questions, budget_usd: float) -> Streamed:
    """Ask a stream by plans under a budget."""
    outcomes, of_test = asked.outcomes, learned.of_test
    policy = AskingPolicy(learned.habits)
    pacer = PlanPacer(policy, budget_usd, len(outcomes), sample=learned.of_seen)
    score, asks = 0.0, 0
    for i, paid_usd in enumerate(outcomes.cost_usd):
        plan = pacer.begin(
            of_test.success[i], of_test.cost_usd[i], ceiling_usd=paid_usd,
            options=int(asked.readings.options[i]),
        )  # fmt: skip
        if plan is None:
            continue
        while isinstance(action := pacer.next_action(plan), Ask):
            j = outcomes.experts.index(action.expert)
            said = int(asked.readings.classes[i, j])
            reading = Reading(None if said < 0 else str(said), said != UNREADABLE)
            plan = pacer.observe(plan, action.expert, reading, float(paid_usd[j]))
            asks += 1
        pacer.end(plan)
        if action.expert is not None:
            score += float(outcomes.score[i, outcomes.experts.index(action.expert)])
    return Streamed(score / len(outcomes), pacer.spent_usd / budget_usd, asks / len(outcomes))


def pace_answers(learned: Learned, asked: Questions, budget_usd: float) -> Streamed:
    """Ask one expert for each query of a stream under a budget."""
    outcomes, of_test, sample = asked.outcomes, learned.of_test, learned.of_seen
    pacer = BudgetPacer(
        budget_usd, len(outcomes), sample_success=sample.success, sample_cost_usd=sample.cost_usd
    )
    score, asks = 0.0, 0
    for i, paid_usd in enumerate(outcomes.cost_usd):
        one = pacer.reserve(of_test.success[i], of_test.cost_usd[i], ceiling_usd=paid_usd)
        if one is None:
            continue
        pacer.settle(one, expected_usd=of_test.cost_usd[i, one.expert], paid_usd=paid_usd[one.expert])
        score += float(outcomes.score[i, one.expert])
        asks += 1
    return Streamed(score / len(outcomes), pacer.spent_usd / budget_usd, asks / len(outcomes))


def best_fixed(learned: Learned, asked: Questions, budget_usd: float) -> Streamed:
    """The fixed price on cost that reaches most within the budget, known afterwards."""
    score, paid_usd = asked.outcomes.score, asked.outcomes.cost_usd
    multipliers = asking_multipliers(learned.of_seen, SETTINGS)
    rows = np.arange(len(score))
    found = [
        Streamed(
            float(score[rows, one.answered].mean()), float(one.paid_usd.sum() / budget_usd), one.waits.mean()
        )
        for one in replay(learned.habits, learned.of_test, paid_usd, asked.readings, multipliers)
    ]
    within = [one for one in found if one.used <= 1]
    return max(within, key=lambda one: one.score) if within else Streamed(float("nan"), 0.0, 0.0)
