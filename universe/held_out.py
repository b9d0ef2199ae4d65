"""What a universe is worth on questions that had no part in choosing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from universe.expected import Expected
from warehouse import InputError, Outcomes


@dataclass(frozen=True)
class HeldOutValue:
    """Mean outcome of the experts that the router picks, question by question."""

    score: float
    interval: tuple[float, float]  # bootstrap, 95%
    cost_usd: float
    questions: int
    unanswered: int  # the picked expert has no outcome: left out of the mean
    per_question: NDArray[np.float64]  # [n], NaN where unanswered


def route_held_out(
    outcomes: Outcomes,
    expected: Expected,
    experts: Sequence[str],
    *,
    cost_multiplier: float = 0.0,
    draws: int = 1000,
    seed: int = 0,
) -> HeldOutValue:
    """Send each question to the expert of highest expected score minus priced cost; count what it scored.

    Args:
        outcomes: held-out questions with real outcomes.
        expected: predicted without them.
        experts: the universe.
        cost_multiplier: score per USD; the universe's shadow price plus its price weight.
        draws: bootstrap resamples of the questions.
        seed: of the bootstrap.

    Raises:
        InputError: an expert has no column, or no picked answer has an outcome.
    """
    unknown = [name for name in experts if name not in outcomes.experts]
    if unknown or not experts:
        raise InputError(
            f"no outcomes of {unknown[0]!r}" if unknown else "the universe is empty", where="experts"
        )
    columns = np.array([outcomes.experts.index(name) for name in experts])
    net = expected.score[:, columns] - cost_multiplier * expected.cost_usd[:, columns]
    picked = columns[net.argmax(axis=1)]
    rows = np.arange(len(picked))
    scores = outcomes.score[rows, picked].astype(np.float64)
    known = np.isfinite(scores)
    if not known.any():
        raise InputError("none of the picked answers has an outcome", where="outcomes")
    answered = scores[known]
    rng = np.random.default_rng(seed)
    means = [answered[rng.integers(0, len(answered), len(answered))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return HeldOutValue(
        score=float(answered.mean()),
        interval=(float(low), float(high)),
        cost_usd=float(expected.cost_usd[rows, picked].mean()),
        questions=int(known.sum()),
        unanswered=int((~known).sum()),
        per_question=scores,
    )
