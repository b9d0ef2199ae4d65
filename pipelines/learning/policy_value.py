"""The value of sets of experts by the policy: what asking, as it is served, reaches with them at a price.

The universe program values a set by the best expected score of one ask. The policy may ask another expert
after an answer, so that experts which check each other can be worth more together than the program sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.habits import Habits
from orchestrator.asking.learn import asking_multipliers, learn_habits
from orchestrator.asking.readings import Readings
from orchestrator.asking.replay import replay
from orchestrator.predictors.base import Prediction
from pipelines.learning.cross_fitted import expected_success, fit_predict, read_examples, split_to_judge
from universe.analysis.alternatives import SetByPolicy, nearest_sets
from universe.model.expectation import Expected
from warehouse import Outcomes, TooFewError, text_keys

if TYPE_CHECKING:
    from pathlib import Path

    from universe.model.limits import Limits

QUESTIONS = 2_000  # that the policy is tried on, at most
FEWEST = 50
FOLDS = 2  # habits are learned on one and tried on the other
SETTINGS = 24  # multipliers among which the one that spends the budget is sought
PILOT = 256  # questions on which it is sought first
DRAWS = 500

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Answered:
    """Questions with their answers, and forecasts that were made without these answers."""

    outcomes: Outcomes
    expected: Expected
    readings: Readings

    def take(self, rows: Rows) -> Answered:
        """Return some of the questions."""
        expected = Expected(self.expected.score[rows], self.expected.cost_usd[rows])
        return Answered(self.outcomes.take(rows), expected, self.readings.take(rows))

    def only(self, experts: Sequence[str]) -> Answered:
        """Return the answers of some of the experts."""
        columns = [self.outcomes.experts.index(name) for name in experts]
        expected = Expected(self.expected.score[:, columns], self.expected.cost_usd[:, columns])
        readings = self.readings.columns(np.array(columns, np.intp))
        return Answered(self.outcomes.only(experts), expected, readings)

    @property
    def forecast(self) -> Prediction:
        """The forecasts as the policy reads them."""
        success = self.expected.score.astype(np.float32)
        return Prediction(self.outcomes.experts, success, self.expected.cost_usd)

    def complete(self, experts: Sequence[str]) -> Rows:
        """Return the questions that all of these experts answered."""
        columns = [self.outcomes.experts.index(name) for name in experts]
        known = np.isfinite(self.outcomes.score + self.outcomes.cost_usd)[:, columns]
        return np.flatnonzero(known.all(axis=1))


@dataclass(frozen=True)
class Reached:
    """What the policy reached on ``n`` questions.

    Under a budget ``worth`` is score + slope x (budget - paid), the slope that of score over cost there: its
    mean is the score at the budget, and its spread that of this mean.
    """

    worth: Floats  # [n] NaN where the budget cannot be kept
    paid_usd: Floats  # [n]
    asks: Floats  # [n]


def reach(
    learned: Answered,
    asked: Answered,
    experts: Sequence[str],
    *,
    max_cost_usd: float | None,
    price_weight: float = 0.0,
    seed: int = 0,
) -> Reached:
    """Learn how a set of experts answers from some questions, and let the policy ask them others.

    Args:
        learned: from which habits are learned.
        asked: other questions, which all the experts answered.
        experts: the set.
        max_cost_usd: mean cost of a query at which the score is read; None: as ``price_weight`` has it.
        price_weight: score that one USD is worth, where there is no budget.
        seed: of what is drawn.
    """
    learned, asked = learned.only(experts), asked.only(experts)
    habits = learn_habits(
        learned.forecast, learned.readings, learned.outcomes.score, learned.outcomes.cost_usd, seed=seed
    )
    if max_cost_usd is None:
        at = _ask(habits, asked, price_weight)
        return replace(at, worth=at.worth - price_weight * at.paid_usd)
    return _reach_at_budget(habits, asked, max_cost_usd)


def value_sets(
    known: Answered,
    sets: Sequence[Sequence[str]],
    *,
    max_cost_usd: float | None,
    price_weight: float = 0.0,
    seed: int = 0,
    on_set: Callable[[int, int], None] = lambda done, sets: None,
) -> list[SetByPolicy]:
    """Value sets by what the policy reaches with each of them on questions that it has not learned from.

    Half of the questions teach the habits that the other half is asked with, and the other way round; all
    sets are asked the same questions.

    Args:
        known: questions with cross-fitted forecasts.
        sets: names of experts; gains are over the first.
        max_cost_usd: mean cost of a query; None: at the price ``price_weight``.
        price_weight: score that one USD per query is worth.
        seed: of folds and draws.
        on_set: called before each set with the number of those done, and of all.

    Raises:
        TooFewError: fewer than ``FEWEST`` questions were answered by all experts of the sets.
    """
    everyone = sorted({name for experts in sets for name in experts})
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(known.complete(everyone))[:QUESTIONS]
    if len(drawn) < FEWEST:
        raise TooFewError(
            f"only {len(drawn)} questions were answered by all of {', '.join(everyone)}",
            fix=f"let them answer {FEWEST} of the same questions",
        )
    _, text = np.unique(text_keys(known.outcomes.prompts), return_inverse=True)
    fold = rng.permutation(int(text.max()) + 1)[text] % FOLDS
    reached = []
    for done, experts in enumerate(sets):
        on_set(done, len(sets))
        parts = [
            reach(
                known.take(np.flatnonzero(fold != f)),
                known.take(np.sort(drawn[fold[drawn] == f])),
                experts,
                max_cost_usd=max_cost_usd,
                price_weight=price_weight,
                seed=seed,
            )
            for f in range(FOLDS)
        ]
        reached.append(
            Reached(
                np.concatenate([part.worth for part in parts]),
                np.concatenate([part.paid_usd for part in parts]),
                np.concatenate([part.asks for part in parts]),
            )
        )
    return compare_sets(sets, reached, seed=seed)


def compare_sets(
    sets: Sequence[Sequence[str]], reached: Sequence[Reached], *, seed: int = 0
) -> list[SetByPolicy]:
    """Return the means of what was reached with some sets on the same questions, gains over the first."""
    n = len(reached[0].worth)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), DRAWS) / n
    found = []
    for experts, one in zip(sets, reached, strict=True):
        gain = one.worth - reached[0].worth
        found.append(
            SetByPolicy(
                tuple(experts),
                float(one.worth.mean()),
                _interval(weights @ one.worth),
                float(gain.mean()),
                _interval(weights @ gain),
                float(one.paid_usd.mean()),
                float(one.asks.mean()),
                n,
            )
        )
    return found


def best_by_policy(values: Sequence[SetByPolicy]) -> SetByPolicy:
    """Return the set with which most is reached; the first of equal ones."""
    able = [value for value in values if not np.isnan(value.score)]
    return max(able or values[:1], key=lambda value: value.score)


def judge_choice(
    outcomes: Outcomes,
    readings: Readings,
    limits: Limits,
    settings: dict[str, Any],
    *,
    count: int,
    embedder: str,
    cache_dir: Path,
    seed: int = 0,
) -> tuple[SetByPolicy, SetByPolicy]:
    """Choose among ``count`` sets by policy on 60% of the questions, and ask the others with what was chosen.

    Args:
        outcomes: of all questions.
        readings: of their answers.
        limits: of the program.
        settings: of the program, as :func:`universe.solver.select.select_universe` takes them.
        count: sets among which one is chosen.
        embedder: of the forecasts.
        cache_dir: where embeddings are kept.
        seed: of the split, folds and draws.

    Returns:
        What the policy reaches on the others with the program's own set, and with the one chosen by it.
    """
    from universe.solver.select import select_universe, universe_program

    train, test = split_to_judge(outcomes, seed)
    seen = outcomes.take(train)
    expected = expected_success(seen, embedder=embedder, seed=seed, cache_dir=cache_dir)
    known = Answered(seen, expected, readings.take(train))
    settings = {**settings, "expected": expected}
    universe = select_universe(seen, limits=limits, **settings)
    ranked = nearest_sets(universe_program(seen, limits=limits, **settings), universe.experts, count)
    price = {"max_cost_usd": limits.max_cost_usd, "price_weight": settings["price_weight"], "seed": seed}
    sets = [one.experts for one in ranked]
    chosen = best_by_policy(value_sets(known, sets, **price))
    score, cost_usd = fit_predict(read_examples(outcomes, embedder, cache_dir), train, test, seed)
    asked = Answered(outcomes.take(test), Expected(np.clip(score, 0, 1), cost_usd), readings.take(test))
    asked = asked.take(asked.complete(sorted({*sets[0], *chosen.experts})))
    if len(asked.outcomes) < FEWEST:
        raise TooFewError(
            f"only {len(asked.outcomes)} of the questions left were answered by all of the sets"
        )
    first = reach(known, asked, sets[0], **price)
    other = first if chosen.experts == sets[0] else reach(known, asked, chosen.experts, **price)
    program, by_policy = compare_sets([sets[0], chosen.experts], [first, other], seed=seed)
    return program, by_policy


def _interval(means: Floats) -> tuple[float, float]:
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _ask(habits: Habits, asked: Answered, multiplier: float) -> Reached:
    (done,) = replay(habits, asked.forecast, asked.outcomes.cost_usd, asked.readings, [multiplier])
    rows = np.arange(len(done.answered))
    score = asked.outcomes.score[rows, done.answered].astype(np.float64)
    return Reached(score, done.paid_usd, done.waits.astype(np.float64))


def _reach_at_budget(habits: Habits, asked: Answered, budget_usd: float) -> Reached:
    """Mix the two settings whose spends enclose the budget."""
    multipliers = asking_multipliers(asked.forecast, SETTINGS)
    pilot = asked.take(np.linspace(0, len(asked.outcomes) - 1, min(PILOT, len(asked.outcomes))).astype(int))
    tried_out = replay(habits, pilot.forecast, pilot.outcomes.cost_usd, pilot.readings, multipliers)
    spends = [one.paid_usd.mean() for one in tried_out]
    last = len(multipliers) - 1
    cheap = min(int((np.array(spends) > budget_usd).sum()), last)
    tried: dict[int, Reached] = {}

    def at(setting: int) -> Reached:
        if setting not in tried:
            tried[setting] = _ask(habits, asked, float(multipliers[setting]))
        return tried[setting]

    while at(cheap).paid_usd.mean() > budget_usd and cheap < last:
        cheap += 1
    while cheap > 0 and at(cheap - 1).paid_usd.mean() <= budget_usd:
        cheap -= 1
    low = at(cheap)
    if low.paid_usd.mean() > budget_usd:
        return replace(low, worth=np.full(len(low.worth), np.nan))
    if cheap == 0:  # the budget does not bind
        return low
    high = at(cheap - 1)
    apart = high.paid_usd.mean() - low.paid_usd.mean()
    share = (budget_usd - low.paid_usd.mean()) / apart
    slope = max(0.0, (high.worth.mean() - low.worth.mean()) / apart)
    paid = (1 - share) * low.paid_usd + share * high.paid_usd
    score = (1 - share) * low.worth + share * high.worth
    return Reached(score + slope * (budget_usd - paid), paid, (1 - share) * low.asks + share * high.asks)
