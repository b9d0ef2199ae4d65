"""Expected success by cross-fitting: every question is predicted by a model that has not seen it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse import InputError, Outcomes, TooFewError, text_keys

PRIOR_ANSWERS = 20
Rows = NDArray[np.int64]
#: (training rows, rows to predict) -> (success [k, m], cost_usd [k, m]) for the rows to predict
FitPredict = Callable[[Rows, Rows], tuple[NDArray[np.floating], NDArray[np.floating]]]


@dataclass(frozen=True)
class Expected:
    """What each expert is expected to score and cost on each question; no NaN."""

    score: NDArray[np.float64]  # [n, m] in [0, 1]
    cost_usd: NDArray[np.float64]  # [n, m]


def cross_fit(
    outcomes: Outcomes,
    fit_predict: FitPredict,
    *,
    folds: int = 5,
    seed: int = 0,
    on_fold: Callable[[int, int], None] = lambda done, folds: None,
) -> Expected:
    """Predict every question from the others, fold by fold; questions of equal text share a fold.

    Success is then calibrated: see :func:`calibrate`.

    Args:
        outcomes: n questions, m experts.
        fit_predict: fits on the first rows and predicts the second.
        folds: number of folds, at least 2.
        seed: of the fold assignment.
        on_fold: called before each fold with the number of those done, and of all.

    Raises:
        TooFewError: fewer than ``folds`` distinct questions.
    """
    _, text = np.unique(text_keys(outcomes.prompts), return_inverse=True)
    distinct = int(text.max()) + 1 if len(text) else 0
    if folds < 2 or distinct < folds:
        raise TooFewError(f"cannot cut {distinct} distinct questions into {folds} folds", where="folds")
    fold = np.random.default_rng(seed).permutation(distinct)[text] % folds
    shape = outcomes.score.shape
    score, cost = np.empty(shape), np.empty(shape)
    for f in range(folds):
        on_fold(f, folds)
        train, test = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        score[test], cost[test] = fit_predict(train, test)
    return Expected(calibrate(score, outcomes), np.maximum(cost, 0))


def calibrate(score: NDArray[np.float64], outcomes: Outcomes) -> NDArray[np.float64]:
    """Shift each expert's expected score [n, m], domain by domain, to the mean that it really has there.

    A predictor that ranks experts well may still be some tenths of a point off in their means, which is as
    much as sets differ by. Few answers shift little: :data:`PRIOR_ANSWERS` count for the prediction.
    """
    calibrated = score.copy()
    error = outcomes.score - score  # NaN where there is no answer
    for domain in np.unique(outcomes.domains):
        here = outcomes.domains == domain
        answers = np.isfinite(error[here]).sum(axis=0)
        calibrated[here] += np.nansum(error[here], axis=0) / (answers + PRIOR_ANSWERS)
    return np.clip(calibrated, 0, 1)


def raw_outcomes(outcomes: Outcomes) -> tuple[Expected, NDArray[np.int64]]:
    """The outcomes themselves as expectation, on the questions that every expert answered.

    This over-states what routing can reach: the best of many lucky guesses counts as skill.

    Returns:
        The expectation on the complete questions, and their positions.

    Raises:
        TooFewError: no question was answered by every expert.
    """
    complete = np.flatnonzero(np.isfinite(outcomes.score).all(axis=1))
    if len(complete) == 0:
        fewest = outcomes.experts[int(np.isfinite(outcomes.score).sum(axis=0).argmin())]
        raise TooFewError(
            "no question was answered by every expert, so raw outcomes cannot be compared",
            where="score",
            fix=f"use expected success, or leave out the expert with the fewest answers ({fewest!r})",
        )
    kept = outcomes.take(complete)
    return Expected(kept.score.astype(np.float64), fill_costs(kept)), complete


def fill_costs(outcomes: Outcomes) -> NDArray[np.float64]:
    """[n, m] costs, a missing one filled with the expert's mean.

    Raises:
        InputError: an expert has no cost at all.
    """
    known = np.isfinite(outcomes.cost_usd)
    counts = known.sum(axis=0)
    if (counts == 0).any():
        name = outcomes.experts[int(np.flatnonzero(counts == 0)[0])]
        raise InputError("no answer has a cost", where=f"cost_usd, expert {name!r}", fix="give it a price")
    mean = np.where(known, outcomes.cost_usd, 0).sum(axis=0) / counts
    return np.where(known, outcomes.cost_usd, mean)
