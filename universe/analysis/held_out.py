"""The value of a universe on questions that were not used to choose it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from universe.model.expectation import Expected
from universe.model.prices import Prices
from warehouse import InputError, Outcomes, TooFewError


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
    prices: Prices | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> HeldOutValue:
    """Send each question where the universe's own routing would send it; count what that expert scored.

    Args:
        outcomes: held-out questions with real outcomes.
        expected: predicted without them.
        experts: the universe.
        prices: the universe's (``Universe.prices``); without them the likeliest to be right answers.
        draws: bootstrap resamples of the questions.
        seed: of the bootstrap.

    Raises:
        InputError: an expert has no column.
        TooFewError: no picked answer has an outcome.
    """
    unknown = [name for name in experts if name not in outcomes.experts]
    if unknown or not experts:
        raise InputError(
            f"no outcomes of {unknown[0]!r}" if unknown else "the universe is empty", where="experts"
        )
    columns = np.array([outcomes.experts.index(name) for name in experts])
    score, cost_usd = expected.score[:, columns], expected.cost_usd[:, columns]
    picked = columns[(prices or Prices()).choose(experts, outcomes.domains, score, cost_usd)]
    rows = np.arange(len(picked))
    scores = outcomes.score[rows, picked].astype(np.float64)
    known = np.isfinite(scores)
    if not known.any():
        raise TooFewError("none of the picked answers has an outcome", where="outcomes")
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
