"""Out-of-fold forecasts, for what is learned on top of a predictor."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Predictor
from orchestrator.text.queries import Examples
from orchestrator.text.splits import folds_by_text

FOLDS = 5


def cross_forecasts(predictor: Predictor, examples: Examples, *, seed: int = 0) -> NDArray[np.float32]:
    """Return a predictor's forecasts [n, m] for each question after learning from the other folds alone.

    The served router learns from a quarter more questions, and behaves on new questions much as these
    forecasts do.

    Args:
        predictor: fitted; it is not changed, and its settings are used.
        examples: questions; equal prompts lie in one fold.
        seed: of the folds.
    """
    success = np.empty(examples.outcomes.score.shape, np.float32)
    for fold in folds_by_text(examples.outcomes.prompts, FOLDS, seed=seed):
        others = examples.take(np.setdiff1d(np.arange(len(examples)), fold))
        success[fold] = copy.deepcopy(predictor).refit(others).predict(examples.queries.take(fold))
    return success
