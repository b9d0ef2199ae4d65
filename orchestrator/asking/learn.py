"""Learn how the experts' answers depend on each other, and what their lengths tell, from answers that were
compared or graded and cross-fitted forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.beliefs import AnswerModel, Evidence
from orchestrator.asking.calibrate import calibrate, without_idle_lengths
from orchestrator.asking.decide import CANDIDATES
from orchestrator.asking.habits import Habits
from orchestrator.asking.lengths import AnswerLengths, learn_lengths
from orchestrator.asking.readings import INCOMPARABLE, NOT_ASKED, UNREADABLE, Readings
from orchestrator.predictors.base import Prediction
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.value import net_value

QUESTIONS = 3_000  # that the model of answers is fitted on, at most
SAME_WHERE_RIGHT = 0.8  # share of right answers that must say what another right one says
SET_SIZES = (2, 3, 4)  # answers that are weighed together
START = (np.log(2.0), 0.0, 0.0)  # slope, popular share, inverted share; unbounded
PENALTY = 20.0  # in questions: what an expert has of its own, against the mean of all
PASSES = 1
LEAST_GAIN = 2e-4  # success for which the dearest expert is asked at the lowest price above none
STEP = 0.25  # of a finite difference
MULTIPLIERS = 40  # prices that sets are drawn at
PER_MULTIPLIER = 1_500  # questions that the policy is tried on

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Sets:
    """Some answers to each question, and which of them are right."""

    success: Floats  # [n, k] forecasts of the experts asked, given that their answers can be read
    experts: NDArray[np.intp]  # [n, k]
    given: NDArray[np.intp]  # [n, k] class of each answer, below 0 where there is none
    key: NDArray[np.intp]  # [n] the class that is right; the number of classes where none is
    options: NDArray[np.intp]  # [n]


def learn_habits(
    forecast: Prediction,
    readings: Readings,
    score: NDArray[np.floating],
    cost_usd: Floats,
    *,
    seed: int = 0,
) -> Habits:
    """Learn the habits of a pool's experts.

    Args:
        forecast: of the ``n`` questions, by routers that have not learned from them.
        readings: of the answers.
        score: [n, m] of the answers; NaN where nobody was asked.
        cost_usd: [n, m] of the answers.
        seed: of the questions and sets that are drawn.
    """
    habits = replace(Habits.unknown(forecast.experts), unreadable=_unreadable(readings))
    if readings.tokens is not None:
        alone = np.where(readings.classes == INCOMPARABLE, score, np.nan)
        usable = forecast.success / (1 - habits.unreadable)
        habits = replace(habits, lengths=learn_lengths(usable, readings.tokens, alone, seed=seed))
    comparable = _comparable(readings, score)
    rng = np.random.default_rng(seed)
    multipliers = asking_multipliers(forecast, MULTIPLIERS)
    if comparable.sum() >= 2:
        sets = _draw_sets(forecast, readings, score, habits.unreadable, comparable, multipliers, rng)
        if len(sets.key) >= 50:
            habits = replace(habits, comparable=comparable, model=_fit_model(sets, len(comparable)))
    if not habits.comparable.any() and not habits.lengths.tell:
        return habits
    complete = np.flatnonzero(np.isfinite(score + cost_usd).all(axis=1))
    if not len(complete):  # nothing that a plan could be tried on
        return replace(habits, lengths=AnswerLengths.silent(len(comparable)))
    rows = rng.permutation(complete)[:PER_MULTIPLIER]
    habits = calibrate(
        habits, forecast.take(rows), cost_usd[rows], readings.take(rows), score[rows], multipliers
    )
    return without_idle_lengths(
        habits, forecast.take(complete), cost_usd[complete], readings.take(complete), score[complete]
    )


def asking_multipliers(forecast: Prediction, count: int) -> Floats:
    """Return multipliers [about ``count``] from 0 to infinity that sweep the policy from dear to cheap.

    Half of them are those of a router's frontier. The others lie below, down to where a fiftieth of a point
    of success would be worth the dearest expert: further answers are worth less than better ones.
    """
    frontier = find_frontier(forecast.success, forecast.cost_usd)
    usual = frontier.settings(count // 2)
    dearest = float(forecast.cost_usd.mean(axis=0).max())
    if dearest <= 0:
        return usual
    high = min(frontier.multiplier_at_spend(0.5 * float(frontier.cost_usd[0])), 1 / dearest)
    low = LEAST_GAIN / dearest
    below = np.geomspace(low, max(high, 2 * low), count - count // 2)
    return np.unique(np.concatenate([usual, below]))


def _unreadable(readings: Readings) -> Floats:
    asked = (readings.classes != NOT_ASKED).sum(axis=0)
    share: Floats = (readings.classes == UNREADABLE).sum(axis=0) / np.maximum(asked + 1.0, 1.0)
    return share


def _comparable(readings: Readings, score: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whose answers [m] can be compared: where they are right, they are the same as other right ones.

    Two programs that both pass their tests are not.
    """
    known = readings.classes >= 0
    right = known & (np.nan_to_num(score) >= 0.5)
    comparable: NDArray[np.bool_] = np.asarray(known.any(axis=0), bool)
    for expert in np.flatnonzero(comparable):
        others = right.copy()
        others[:, expert] = False
        rows = np.flatnonzero(right[:, expert] & others.any(axis=1))
        same = readings.classes[rows, expert] == readings.classes[rows, others[rows].argmax(axis=1)]
        comparable[expert] = not len(rows) or same.mean() >= SAME_WHERE_RIGHT
    return comparable


def _draw_sets(
    forecast: Prediction,
    readings: Readings,
    score: NDArray[np.floating],
    unreadable: Floats,
    comparable: NDArray[np.bool_],
    multipliers: Floats,
    rng: np.random.Generator,
) -> _Sets:
    """Draw for each question a price, and a few of the experts that would be weighed there."""
    known = (readings.classes >= 0) & comparable
    rows = rng.permutation(np.flatnonzero(known.sum(axis=1) >= 2))[:QUESTIONS]
    finite = multipliers[np.isfinite(multipliers)]
    price = rng.choice(finite, len(rows))
    value = net_value(forecast.success[rows].astype(float), price[:, None] * forecast.cost_usd[rows], 1.0)
    # likelier the higher its rank: a draw without replacement by perturbed ranks
    rank = np.argsort(np.argsort(-np.where(known[rows], value, -np.inf), axis=1), axis=1)
    noisy = np.where(known[rows] & (rank < CANDIDATES), rank / 2 + rng.gumbel(size=rank.shape), np.inf)
    experts = np.argsort(noisy, axis=1)[:, : max(SET_SIZES)]
    size = rng.choice(SET_SIZES, len(rows))
    there = np.take_along_axis(known[rows], experts, axis=1) & (np.arange(experts.shape[1]) < size[:, None])
    classes = np.where(there, np.take_along_axis(readings.classes[rows], experts, axis=1), -1).astype(np.intp)
    given = np.full(classes.shape, -1, np.intp)
    key = np.full(len(rows), max(SET_SIZES), np.intp)
    right = (np.nan_to_num(score[rows]) >= 0.5) & known[rows]
    any_right = right.any(axis=1)
    right_class = np.where(any_right, readings.classes[rows, right.argmax(axis=1)], -9)
    for i in range(len(rows)):  # number the classes in the order in which they come up
        names: dict[int, int] = {}
        for j, own in enumerate(classes[i]):
            if own >= 0:
                given[i, j] = names.setdefault(int(own), len(names))
        key[i] = names.get(int(right_class[i]), len(names))
    success = forecast.success[rows].astype(float) / (1 - unreadable)
    chosen = np.minimum(np.take_along_axis(success, experts, axis=1), 1.0)
    return _Sets(chosen, experts, given, key, readings.options[rows])


def _fit_model(sets: _Sets, m: int) -> AnswerModel:
    """Fit one slope and one popular share for all, then what each expert has of its own.

    The loss is the negative log probability of the right answer.
    """
    from scipy.optimize import minimize

    everywhere = np.arange(len(sets.key))
    start = np.array(START) + np.vstack([np.zeros(3), 0.5 * np.eye(3)])
    common = minimize(
        lambda x: _losses(sets, everywhere, np.full(m, x[0]), np.full(m, x[1]), x[2]).mean(),
        start[0],
        method="Nelder-Mead",
        options={"maxfev": 90, "xatol": 0.02, "fatol": 1e-4, "initial_simplex": start},
    ).x
    own = np.tile(common[:2, None], (1, m))
    for _ in range(PASSES):
        for e in range(m):
            rows = np.flatnonzero(((sets.experts == e) & (sets.given >= 0)).any(axis=1))
            if len(rows) < 20:
                continue
            for kind in range(2):
                at = []
                for shift in (-STEP, 0.0, STEP):
                    moved = own.copy()
                    moved[kind, e] += shift
                    loss = _losses(sets, rows, moved[0], moved[1], common[2]).sum()
                    at.append(loss + PENALTY / 2 * (moved[kind, e] - common[kind]) ** 2)
                bend = at[0] - 2 * at[1] + at[2]
                slope = (at[2] - at[0]) / 2
                step = -slope / bend if bend > 1e-9 else -np.sign(slope)
                own[kind, e] += STEP * float(np.clip(step, -2, 2))
    return _model(own[0], own[1], common[2])


def _model(slopes: Floats, popular: Floats, inverted: float) -> AnswerModel:
    """Turn unbounded numbers into a model."""
    return AnswerModel(
        np.exp(np.clip(slopes, np.log(0.2), np.log(5))),
        np.clip(1 / (1 + np.exp(-popular)), 0.02, 0.98),
        float(0.95 / (1 + np.exp(-inverted))),
    )


def _losses(sets: _Sets, rows: NDArray[np.intp], slopes: Floats, popular: Floats, inverted: float) -> Floats:
    """Negative log probability of the right answer [rows]."""
    model = _model(slopes, popular, inverted)
    experts = sets.experts[rows]
    beliefs = AnswerModel(model.slopes[experts], model.popular[experts], model.inverted).beliefs(
        sets.success[rows], sets.options[rows]
    )
    count = max(SET_SIZES)
    posterior = Evidence.of(beliefs, sets.given[rows], count).posterior()
    own = np.take_along_axis(posterior, sets.key[rows, None], axis=1)[:, 0]
    losses: Floats = -np.log(np.maximum(own, 1e-6))
    return losses
