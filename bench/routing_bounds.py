"""What keeps asking below its goals: how far it gets with better forecasts, beliefs, data, settings or asks.

Each row changes one thing, most of which nobody has in life, and leaves the rest as it is served. All rows
are of the same questions: what tells is the difference to the first row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.routing_data import Pool, load_pool, load_readings
from orchestrator import load_embedder, read_queries
from orchestrator.asking.habits import Habits
from orchestrator.asking.learn import asking_multipliers, learn_habits
from orchestrator.asking.plans import MAX_ASKS, Limits
from orchestrator.asking.readings import Readings
from orchestrator.asking.replay import replay
from orchestrator.evaluation import metrics
from orchestrator.evaluation.seed_result import SeedResult
from orchestrator.predictors.base import Prediction, contrast_loss
from orchestrator.predictors.cost import CostPredictor
from orchestrator.predictors.cross_fitting import cross_forecasts
from orchestrator.predictors.registry import build_predictor
from orchestrator.selection.hull import convex_hull, hull_value
from orchestrator.text.queries import Examples
from orchestrator.text.splits import split_by_text
from warehouse import Outcomes

SHARES = (0.25, 0.5, 1.0)  # of the questions learned from
ASKS = (1, 2, 3, 8)
#: Standard deviation of what a forecast sees of an answer's success, itself 0 or 1.
NOISES = (6.0, 4.0, 2.5, 1.5)
SETTINGS = 36
QUESTIONS = 2_000  # of a split's test part, at most
BINS = 20  # of forecasts, put right in hindsight
AT = (0.5, 0.75)  # shares of the best single expert's price

Floats = np.ndarray


@dataclass(frozen=True)
class Learned:
    """A router's forecasts and the habits learned on them."""

    of_seen: Prediction
    of_test: Prediction
    habits: Habits


@dataclass(frozen=True)
class Questions:
    """Questions with their recorded answers."""

    outcomes: Outcomes
    readings: Readings


@dataclass(frozen=True)
class Reached:
    """What the policy reaches on one split."""

    name: str
    explained: float  # share of the contrasts between experts that the forecasts foretell
    headroom: float  # share of the way from the zero-router to the oracle, AIQ over log cost
    accuracy: tuple[float, ...]  # at each share of the price, between the settings on both sides
    freely: float  # with no pressure
    calls: float  # in series, there


def print_bounds(
    recorded: Path, pools: list[Pool], embedder: str, cache: Path, console: Console, seeds: int = 1
) -> None:
    """Print, per pool, what each of the things that are not to be had would give."""
    for pool in pools:
        outcomes = load_pool(recorded, pool)
        examples = Examples(read_queries(outcomes.texts, load_embedder(embedder, cache_dir=cache)), outcomes)
        readings = load_readings(recorded, pool, outcomes)
        found: dict[str, list[Reached]] = {}
        for seed in range(seeds):
            for one in measure_bounds(examples, readings, seed):
                found.setdefault(one.name, []).append(one)
        table = Table(
            "asking, with", "contrasts explained", "headroom",
            *(f"at {share:g}" for share in AT), "no pressure", "calls there",
            title=f"pool {pool.name}: what one thing alone would give ({seeds} splits)",
        )  # fmt: skip
        for name, rows in found.items():
            table.add_row(
                name,
                f"{np.mean([r.explained for r in rows]):.1%}",
                f"{np.mean([r.headroom for r in rows]):.1%}",
                *(f"{v:.4f}" for v in np.mean([r.accuracy for r in rows], axis=0)),
                f"{np.mean([r.freely for r in rows]):.4f}",
                f"{np.mean([r.calls for r in rows]):.2f}",
            )
        console.print(table)


def measure_bounds(examples: Examples, readings: Readings, seed: int) -> Iterator[Reached]:
    """Measure the policy on one split, each time with one thing changed."""
    outcomes = examples.outcomes
    split = split_by_text(outcomes.prompts, seed=seed)
    whole = np.asarray(np.isfinite(outcomes.score + outcomes.cost_usd).all(axis=1))
    seen = np.sort(np.concatenate([split.train, split.validation]))
    test = np.random.default_rng(seed).permutation(split.test[whole[split.test]])[:QUESTIONS]
    plain = SeedResult.of_plain_policies(outcomes, test, seen)
    asked = Questions(outcomes.take(test), readings.take(test))
    order = np.random.default_rng(seed).permutation(seen)
    for share in reversed(SHARES):
        some = np.sort(order[: int(share * len(order))])
        part = learn(examples, readings, some, np.intersect1d(some, split.validation), test, seed)
        if share == 1:
            learned = part
        yield reach("all it has" if share == 1 else f"{share:.0%} of the questions", part, plain, asked)
    for asks in ASKS:
        yield reach(f"at most {asks} asks", learned, plain, asked, max_asks=asks)
    forecast, score = learned.of_test, asked.outcomes.score
    beliefs = learn_habits(forecast, asked.readings, score, asked.outcomes.cost_usd, seed=seed)
    yield reach("beliefs fitted on these questions", replace(learned, habits=beliefs), plain, asked)
    right = replace(forecast, success=put_right(forecast.success, score))
    yield reach("forecasts calibrated on these", replace(learned, of_test=right), plain, asked)
    for noise in NOISES:
        seen_more = glimpse(forecast.success, score, noise, np.random.default_rng(seed))
        better = replace(learned, of_test=replace(forecast, success=seen_more))
        yield reach(f"a glimpse of the success, noise {noise:g}", better, plain, asked)


def learn(
    examples: Examples, readings: Readings, seen: Floats, validation: Floats, test: Floats, seed: int
) -> Learned:
    """Learn the router and the habits from some questions."""
    train = examples.take(np.setdiff1d(seen, validation))
    held_out = examples.take(validation)
    fitted = build_predictor("stack").fit(train, held_out, seed=seed)
    cost = CostPredictor().fit(train, held_out)
    known = examples.take(seen)
    experts = examples.outcomes.experts
    of_seen = Prediction(experts, cross_forecasts(fitted, known, seed=seed), cost.predict(known.queries))
    asked = examples.queries.take(test)
    of_test = Prediction(experts, fitted.refit(known).predict(asked), cost.predict(asked))
    habits = learn_habits(
        of_seen, readings.take(seen), known.outcomes.score, known.outcomes.cost_usd, seed=seed
    )
    return Learned(of_seen, of_test, habits)


def reach(
    name: str, learned: Learned, plain: SeedResult, asked: Questions, *, max_asks: int = MAX_ASKS
) -> Reached:
    """Run the policy over the questions and measure it."""
    score, paid_usd = asked.outcomes.score, asked.outcomes.cost_usd
    replayed = replay(
        learned.habits, learned.of_test, paid_usd, asked.readings,
        asking_multipliers(learned.of_seen, SETTINGS), limits=Limits(max_asks=max_asks),
    )  # fmt: skip
    rows = np.arange(len(score))
    cost = np.array([one.paid_usd.mean() for one in replayed])
    quality = np.array([score[rows, one.answered].mean() for one in replayed])
    price = float(plain.test["best single"].cost_usd.mean())
    hull = convex_hull(cost, quality)
    mean = np.broadcast_to(score.mean(axis=0), score.shape)
    return Reached(
        name,
        1 - contrast_loss(learned.of_test.success, score) / contrast_loss(mean, score),
        headroom(cost, quality, plain),
        tuple(float(hull_value(share * price, *hull)) for share in AT),
        float(quality[0]),
        float(np.mean(replayed[0].waits)),
    )


def headroom(cost: Floats, quality: Floats, plain: SeedResult) -> float:
    """Share of the way from the zero-router to the oracle, in AIQ over log cost."""
    ends = {
        name: (plain.test[name].cost_usd.mean(axis=1), plain.test[name].score.mean(axis=1))
        for name in ("zero-router", "oracle")
    }
    single = ends["zero-router"]
    low, high = (metrics.aiq(*ends[name], *single, log_cost=True) for name in ("zero-router", "oracle"))
    return float((metrics.aiq(cost, quality, *single, log_cost=True) - low) / (high - low))


def put_right(success: Floats, score: Floats) -> Floats:
    """Return forecasts moved to what came true, by expert and ``BINS`` equal bins of the forecast."""
    right = success.astype(float).copy()
    for own, came in zip(right.T, score.T, strict=True):
        for rows in np.array_split(np.argsort(own, kind="stable"), BINS):
            own[rows] = came[rows].mean()
    return right.astype(np.float32)


def glimpse(success: Floats, score: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """Return forecasts that have also seen each answer's success through Gaussian noise, by Bayes' rule."""
    signal = score + noise * rng.standard_normal(score.shape)
    prior = np.clip(success.astype(float), 1e-4, 1 - 1e-4)
    odds = prior / (1 - prior) * np.exp((signal - 0.5) / noise**2)
    better: Floats = (odds / (1 + odds)).astype(np.float32)
    return better
