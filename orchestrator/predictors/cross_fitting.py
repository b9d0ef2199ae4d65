"""Forecasts by routers that have not learned from the question: what is learned on top rests on these."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Predictor
from orchestrator.text.queries import Examples

FOLDS = 5


def cross_forecasts(
    predictor: Predictor, examples: Examples, *, seed: int = 0, folds: int = FOLDS
) -> NDArray[np.float32]:
    """Return forecasts [n, m] of the success on each question by a copy that learned from the other folds.

    Args:
        predictor: fitted; it stays as it is, and so do the settings that it chose.
        examples: questions, each prompt at most once.
        seed: of the folds.
        folds: number of folds.
    """
    success = np.empty(examples.outcomes.score.shape, np.float32)
    order = np.random.default_rng(seed).permutation(len(examples))
    for fold in np.array_split(order, min(folds, len(order))):
        others = examples.take(np.setdiff1d(order, fold))
        learned = copy.deepcopy(predictor).refit(others)
        success[fold] = learned.predict(examples.queries.take(fold))
    return success
