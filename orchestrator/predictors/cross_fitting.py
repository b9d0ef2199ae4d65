"""Forecasts by routers that have not learned from the question: what is learned on top rests on these."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Predictor
from orchestrator.text.queries import Examples
from orchestrator.text.splits import folds_by_text

FOLDS = 5


def cross_forecasts(predictor: Predictor, examples: Examples, *, seed: int = 0) -> NDArray[np.float32]:
    """Return what a predictor says [n, m] of each question having learned from the other folds alone.

    The router that is served has learned from a quarter more; on questions that are new to it, it decides
    much as these do on theirs.

    Args:
        predictor: fitted; it stays as it is, and so do the settings that it chose.
        examples: questions; equal prompts lie in one fold.
        seed: of the folds.
    """
    success = np.empty(examples.outcomes.score.shape, np.float32)
    for fold in folds_by_text(examples.outcomes.prompts, FOLDS, seed=seed):
        others = examples.take(np.setdiff1d(np.arange(len(examples)), fold))
        success[fold] = copy.deepcopy(predictor).refit(others).predict(examples.queries.take(fold))
    return success
