"""Ridge regression with missing targets: the solver behind the cost model and the linear predictors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def solve_ridge(features: Floats, targets: Floats, penalties: Sequence[float]) -> Floats:
    """Least squares with penalty * |weights|^2 for several penalties and targets at once.

    Args:
        features: [n, d]; a constant column is the caller's affair and is penalised like any other.
        targets: [n, m], NaN where missing. Each column is fitted on the rows it has.
        penalties: one result each, above 0; scaled by the number of rows.

    Returns:
        Weights [len(penalties), d, m].
    """
    weights = np.zeros((len(penalties), features.shape[1], targets.shape[1]))
    seen = np.isfinite(targets)
    patterns, group = np.unique(seen, axis=1, return_inverse=True)
    for g in range(patterns.shape[1]):
        rows, columns = patterns[:, g], np.flatnonzero(group.ravel() == g)
        count = int(rows.sum())
        if not count:
            continue
        x = features[rows]
        gram, moments = x.T @ x, x.T @ targets[rows][:, columns]
        if len(penalties) == 1:  # a tenth of the time of an eigendecomposition, which serves many penalties
            ridge = penalties[0] * count * np.eye(len(gram))
            weights[0][:, columns] = np.linalg.solve(gram + ridge, moments)
            continue
        eigenvalues, basis = np.linalg.eigh(gram)
        projected = basis.T @ moments
        for i, penalty in enumerate(penalties):
            shrunk = projected / (np.maximum(eigenvalues, 0) + penalty * count)[:, None]
            weights[i][:, columns] = basis @ shrunk
    return weights


def standardise(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the columns at mean 0 and deviation 1, with the means and deviations; constants become 0."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    return (values - mean) / deviation, mean, deviation
