"""Learn how far what the policy foresees comes true where it goes, from cross-fitted forecasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.habits import DEPTHS, Habits
from orchestrator.asking.lengths import CLEAR, AnswerLengths
from orchestrator.asking.readings import Readings
from orchestrator.asking.replay import Replayed, Step, replay
from orchestrator.asking.sureness import Sureness, learn_sureness
from orchestrator.predictors.base import Prediction
from orchestrator.selection.value import net_value

TRUST_PRIOR = 2.0  # in questions decided by a further answer
TRUST_ROUNDS = 2
TRUST_MULTIPLIERS = 6

Floats = NDArray[np.float64]


def calibrate(
    habits: Habits,
    forecast: Prediction,
    cost_usd: Floats,
    readings: Readings,
    score: NDArray[np.floating],
    multipliers: Floats,
) -> Habits:
    """Learn what share of the gains foreseen comes true where the policy goes.

    A search for the greatest gain finds the luckiest of many uncertain ones, so what it finds is less than it
    foresees. Least squares through the origin, drawn to 1 where there is little to learn from; repeated, as
    the policy does otherwise once it trusts less. At the end, how sure one may be of the answers returned.

    Args:
        habits: of the experts.
        forecast: of the ``n`` questions, by routers that have not learned from them.
        cost_usd: [n, m] of the answers.
        readings: of the answers.
        score: [n, m] of the answers.
        multipliers: success that a dollar has to buy; some of them are tried.
    """
    finite = multipliers[np.isfinite(multipliers)]
    chosen = finite[np.linspace(0, len(finite) - 1, min(TRUST_MULTIPLIERS, len(finite))).astype(int)]
    prior = TRUST_PRIOR * len(chosen)
    for _ in range(TRUST_ROUNDS):
        replayed = replay(habits, forecast, cost_usd, readings, chosen, follow=True)
        steps = [step for one in replayed for step in one.steps]
        habits = replace(
            habits,
            trust=_trust_of_answers(steps, score, prior),
            lengths=replace(habits.lengths, trust=_trust_of_lengths(steps, score, prior)),
            foresight=_trust_before(replayed, chosen, readings, score, cost_usd, prior),
        )
    return replace(habits, sureness=_sureness_of(replayed, readings, score))


def without_idle_lengths(
    habits: Habits, forecast: Prediction, cost_usd: Floats, readings: Readings, score: NDArray[np.floating]
) -> Habits:
    """Return the habits; lengths say nothing in them unless they clearly gain with no pressure on costs.

    What they tell of each expert may be true and still of no use: a long answer may tell that a question is
    hard for the others too. They are judged where they are heard, on questions whose answers cannot be
    compared, against the same policy that does not hear them. Arguments as in :func:`calibrate`.
    """
    silent = replace(habits, lengths=AnswerLengths.silent(len(habits.experts)))
    alone = np.flatnonzero((readings.classes < 0).all(axis=1))
    if not habits.lengths.tell or not len(alone):
        return silent
    heard, unheard = (
        score[
            alone, replay(own, forecast.take(alone), cost_usd[alone], readings.take(alone), [0.0])[0].answered
        ]
        for own in (habits, silent)
    )
    gain = heard - unheard
    return habits if gain.mean() > CLEAR * gain.std() / len(gain) ** 0.5 else silent


def _sureness_of(replayed: list[Replayed], readings: Readings, score: NDArray[np.floating]) -> Sureness:
    """How often the answers returned were right, by how sure the beliefs were of them."""
    rows = np.arange(len(score))
    compared = [
        np.where(
            readings.classes[rows, one.answered] >= 0, (one.asked & (readings.classes >= 0)).sum(axis=1), 0
        )
        for one in replayed
    ]
    return learn_sureness(
        np.concatenate([one.probability for one in replayed]),
        np.concatenate(compared),
        np.concatenate([score[rows, one.answered] for one in replayed]),
        weight=1 / len(replayed),
    )


def _trust_of_answers(steps: list[Step], score: NDArray[np.floating], prior: float) -> Floats:
    """Share of the success expected of one more answer that it brought, by how many were there."""
    trust = np.ones(DEPTHS)
    if steps:
        told = np.concatenate([step.gain for step in steps])
        depth = np.concatenate([np.minimum(step.compared, DEPTHS) for step in steps])
        came = np.concatenate([score[s.rows, s.after] - score[s.rows, s.before] for s in steps])
        for d in range(1, DEPTHS + 1):
            own = depth == d
            trust[d - 1] = (told[own] @ came[own] + prior) / (told[own] @ told[own] + prior)
    return np.clip(trust, 0.0, 1.0)


def _trust_of_lengths(steps: list[Step], score: NDArray[np.floating], prior: float) -> float:
    """Share of what was expected of another expert, where an answer's length made it doubtful, that came."""
    told, came = prior, prior
    for step in steps:
        own = step.compared == 0
        gain = score[step.rows[own], step.after[own]] - score[step.rows[own], step.before[own]]
        told += float(step.gain[own] @ step.gain[own])
        came += float(step.gain[own] @ gain)
    return float(np.clip(came / told, 0.0, 1.0))


def _trust_before(
    replayed: list[Replayed],
    multipliers: Floats,
    readings: Readings,
    score: NDArray[np.floating],
    cost_usd: Floats,
    prior: float,
) -> float:
    """Share of what asking on was foreseen to net that it did net, where the first answer could be read."""
    told, came = prior, prior
    rows = np.arange(len(score))
    for one, multiplier in zip(replayed, multipliers, strict=True):
        read = readings.classes[rows, one.first] >= 0
        success = score[rows, one.answered] - score[rows, one.first]
        netted = net_value(success, one.paid_usd - cost_usd[rows, one.first], multiplier)
        told += float(one.foreseen[read] @ one.foreseen[read])
        came += float(one.foreseen[read] @ netted[read])
    return float(np.clip(came / told, 0.0, 1.0))
