"""The length of an answer as evidence of whether it is right.

An expert that struggles writes more: on mathematics the number of its tokens tells its wrong answers from its
right ones (an area under the curve of .74 to .85), where answers to choose among say nothing but a letter it
does not. So the evidence is weighed by what is learned of each expert, and an expert of which it does not
help to foretell answers that nothing was learned from says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FOLDS = 2
QUARTILES_APART = 1.349  # deviations of a normal distribution
LEAST_ANSWERS = 100  # of an expert; of fewer nothing is learned
CLEAR = 2.0  # standard errors by which answers must be foretold better
LEAST_GAIN = 1e-3  # in log likelihood for each answer
FARTHEST = 3.0  # deviations from the centre; beyond, a length says no more
STRONGEST = 3.0  # of the log odds that a length adds
PENALTY = 1.0  # of the squares of all weights, in answers
NEWTON_STEPS = 12

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AnswerLengths:
    """What the lengths of the answers of ``m`` experts tell."""

    centre: Floats  # [m] median of the logarithm of an answer's tokens
    deviation: Floats  # [m] of its middle half, as of a normal distribution; above 0
    weights: Floats  # [m, 3] constant, slope and bend of the log odds added; 0: its length says nothing
    trust: float = 1.0  # share that comes true of what another expert was expected to gain

    @classmethod
    def silent(cls, m: int) -> Self:
        """Return lengths that say nothing."""
        return cls(np.zeros(m), np.ones(m), np.zeros((m, 3)))

    @property
    def tell(self) -> bool:
        """Whether anybody's length says anything."""
        return bool(self.weights.any()) and self.trust > 0

    def odds(self, tokens: NDArray[Any] | None, shape: tuple[int, int]) -> Floats:
        """Return by how much each answer's length multiplies the odds that it is right, given the forecast.

        Args:
            tokens: [n, m] of the answers; NaN, or 0 and less: not known, which says nothing.
            shape: (n, m), where no tokens are known at all.
        """
        if tokens is None or not self.weights.any():
            return np.ones(shape)
        standard, known = _standardise(tokens, self.centre, self.deviation)
        constant, slope, bend = self.weights.T
        added = np.clip(constant + slope * standard + bend * standard**2, -STRONGEST, STRONGEST)
        odds: Floats = np.where(known, np.exp(added), 1.0)
        return odds

    def odds_of(self, expert: int, tokens: float | None) -> float:
        """Return the same for one answer of the expert in this column."""
        row = np.full((1, len(self.centre)), np.nan)
        row[0, expert] = np.nan if tokens is None else tokens
        return float(self.odds(row, row.shape)[0, expert])

    def take(self, place: NDArray[np.intp]) -> AnswerLengths:
        """Return those of some experts; -1: one whose lengths say nothing."""
        silent = self.silent(1)
        return replace(
            self,
            **{
                name: np.concatenate([getattr(self, name), getattr(silent, name)])[place]
                for name in ("centre", "deviation", "weights")
            },
        )


def learn_lengths(
    success: NDArray[np.floating], tokens: NDArray[Any], score: NDArray[np.floating], *, seed: int = 0
) -> AnswerLengths:
    """Learn what the lengths of answers tell beyond the forecasts.

    For each expert a logistic regression of its successes on length and its square, the log odds of the
    forecast given; kept where it foretells answers that it has not learned from clearly better than a
    constant does.

    Args:
        success: [n, m] forecasts, by routers that have not learned from these questions.
        tokens: [n, m] of the answers; NaN where not known.
        score: [n, m] of the answers; NaN where nobody was asked.
        seed: of the halves.
    """
    n, m = score.shape
    logs = np.log(np.where(tokens > 0, tokens, np.nan).astype(float))
    known = np.isfinite(logs) & np.isfinite(score)
    centre, deviation = np.zeros(m), np.ones(m)
    for e in np.flatnonzero(known.any(axis=0)):  # by quartiles: a few absurd counts move them little
        low, centre[e], high = np.quantile(logs[known[:, e], e], (0.25, 0.5, 0.75))
        deviation[e] = (high - low) / QUARTILES_APART
    varied = deviation > 1e-3
    deviation = np.where(varied, deviation, 1.0)
    standard, _ = _standardise(tokens, centre, deviation)
    clipped = np.clip(np.asarray(success, float), 1e-3, 1 - 1e-3)
    given = np.log(clipped / (1 - clipped))
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    weights = np.zeros((m, 3))
    for e in range(m):
        rows = np.flatnonzero(known[:, e])
        if len(rows) < LEAST_ANSWERS or not varied[e]:
            continue
        features = np.column_stack([np.ones(len(rows)), standard[rows, e], standard[rows, e] ** 2])
        own, right = given[rows, e], score[rows, e].astype(float)
        gained = np.empty(len(rows))
        for f in range(FOLDS):
            other = fold[rows] == f
            without, fitted = (
                _fit(features[~other, :k], own[~other], right[~other]) for k in (1, features.shape[1])
            )
            before = _losses(own[other] + without, right[other])
            gained[other] = before - _losses(own[other] + features[other] @ fitted, right[other])
        if gained.mean() > max(CLEAR * gained.std() / len(rows) ** 0.5, LEAST_GAIN):
            weights[e] = _fit(features, own, right)
    return AnswerLengths(centre, deviation, weights)


def _standardise(tokens: NDArray[Any], centre: Floats, deviation: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return lengths in deviations from the centre, and where they are known."""
    values = np.asarray(tokens, float)
    known = np.isfinite(values) & (values > 0)
    logs = np.log(np.where(known, values, 1.0))
    return np.where(known, np.clip((logs - centre) / deviation, -FARTHEST, FARTHEST), 0.0), known


def _fit(features: Floats, given: Floats, right: Floats) -> Floats:
    """Return the weights of greatest penalised likelihood, by Newton's method."""
    weights = np.zeros(features.shape[1])
    penalty = np.full(features.shape[1], PENALTY)
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(given + features @ weights)))
        slope = features.T @ (right - p) - penalty * weights
        bend = (features * (p * (1 - p))[:, None]).T @ features + np.diag(penalty)
        weights = weights + np.clip(np.linalg.solve(bend, slope), -2.0, 2.0)
    return weights


def _losses(log_odds: Floats, right: Floats) -> Floats:
    """Negative log likelihood of each answer; scores between 0 and 1 count in part."""
    losses: Floats = np.logaddexp(0.0, log_odds) - right * log_odds
    return losses
