"""How often an answer is right, given how sure the beliefs are of it.

The model of answers takes the experts to err more independently than they do, so after several answers it is
too sure. The last thing learned of a pool sets that right: one logistic curve (Platt 1999) for each number of
answers that were compared. It rises, so no choice between answers changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

CURVES = 3  # of two answers, of three, and of more
FLATTEST = 0.05  # slope of a curve, which must rise
PENALTY = 10.0  # of the squared distance from no correction, in answers
NEVER = 1e-4  # the beliefs are not taken to be surer than this

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sureness:
    """A correction of the probability that an answer is right, by how many answers were compared."""

    slope: Floats  # [CURVES] of the log odds, above 0
    offset: Floats  # [CURVES] added to them

    @classmethod
    def as_believed(cls) -> Self:
        """Return the correction that changes nothing."""
        return cls(np.ones(CURVES), np.zeros(CURVES))

    def correct(self, probability: Floats, compared: NDArray[np.integer]) -> Floats:
        """Return the probabilities [n] corrected; those of one answer alone are the router's, and stay.

        Args:
            probability: [n] by the beliefs.
            compared: [n] answers that were compared.
        """
        curve = np.clip(compared - 2, 0, CURVES - 1)
        slope, offset = self.slope[curve], self.offset[curve]
        odds = offset + slope * _log_odds(probability)
        changes = (compared >= 2) & ((slope != 1) | (offset != 0))
        return np.where(changes, 1 / (1 + np.exp(-odds)), probability)


def learn_sureness(
    probability: Floats, compared: NDArray[np.integer], score: NDArray[np.floating], *, weight: float
) -> Sureness:
    """Learn the correction from answers that were returned.

    Args:
        probability: [n] by the beliefs.
        compared: [n] answers that were compared.
        score: [n] of the answer returned, from 0 to 1.
        weight: of each, where the same question comes up several times.
    """
    from scipy.optimize import minimize

    learned = Sureness.as_believed()
    for curve in range(CURVES):
        own = np.clip(compared - 2, -1, CURVES - 1) == curve
        odds, came = _log_odds(probability[own]), score[own]

        def loss(x: Floats, odds: Floats = odds, came: NDArray[np.floating] = came) -> tuple[float, Floats]:
            told = x[1] + x[0] * odds
            miss = 1 / (1 + np.exp(-told)) - came
            off = x - (1.0, 0.0)
            value = weight * float((np.logaddexp(0, told) - came * told).sum()) + PENALTY * float(off @ off)
            return value, weight * np.array([miss @ odds, miss.sum()]) + 2 * PENALTY * off

        found = minimize(
            loss, (1.0, 0.0), jac=True, method="L-BFGS-B", bounds=((FLATTEST, None), (None, None))
        )
        learned.slope[curve], learned.offset[curve] = found.x
    return learned


def _log_odds(probability: Floats) -> Floats:
    inner = np.clip(probability, NEVER, 1 - NEVER)
    odds: Floats = np.log(inner / (1 - inner))
    return odds
