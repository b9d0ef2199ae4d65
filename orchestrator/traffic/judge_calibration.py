"""The agreement of a judge's scores with those of users, and the calibration from one to the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.traffic.drift import share_interval

#: Pairs' worth of belief that the judge is right as it is: few pairs change little.
PRIOR_PAIRS = 20.0
_Z = 1.96


@dataclass(frozen=True)
class JudgeCalibration:
    """A judge compared with users, on answers that both have scored.

    Attributes:
        pairs: number of answers that both have scored.
        agreement: share of these on which both agree whether the answer is good (a score of 0.5 or more).
        agreement_low, agreement_high: 95% interval of it.
        bias: mean of the judge's score minus the users', with ``bias_low`` and ``bias_high``.
        offset, slope: the expected score of users for a judge's score s is ``offset + slope * s``, within
            [0, 1].
    """

    pairs: int = 0
    agreement: float = math.nan
    agreement_low: float = math.nan
    agreement_high: float = math.nan
    bias: float = math.nan
    bias_low: float = math.nan
    bias_high: float = math.nan
    offset: float = 0.0
    slope: float = 1.0

    def apply(self, score: NDArray[np.floating]) -> NDArray[np.float32]:
        """Convert judge scores into expected user scores; NaN stays NaN."""
        return np.clip(self.offset + self.slope * score, 0.0, 1.0).astype(np.float32)


def calibrate_judge(judged: NDArray[np.floating], told: NDArray[np.floating]) -> JudgeCalibration:
    """Compare a judge's scores with users', and fit the straight line from the one to the other.

    A least-squares line with a prior of ``PRIOR_PAIRS`` pairs, spread evenly over [0, 1], on which the judge
    agrees with the users. Without data it is the identity. Its slope is never negative: a judge that is worse
    than chance gets a flat line.

    Args:
        judged: [n] the judge's scores in [0, 1]; NaN is missing.
        told: [n] the users' scores of the same answers.
    """
    both = np.isfinite(judged) & np.isfinite(told)
    x, y = judged[both].astype(np.float64), told[both].astype(np.float64)
    n = len(x)
    if not n:
        return JudgeCalibration()
    prior = np.linspace(0, 1, 11)
    weight = np.concatenate([np.ones(n), np.full(len(prior), PRIOR_PAIRS / len(prior))])
    xs, ys = np.concatenate([x, prior]), np.concatenate([y, prior])
    mean_x, mean_y = np.average(xs, weights=weight), np.average(ys, weights=weight)
    slope = float(weight @ ((xs - mean_x) * (ys - mean_y)) / (weight @ (xs - mean_x) ** 2))
    slope = max(slope, 0.0)
    same = float(((x >= 0.5) == (y >= 0.5)).mean())
    low, high = share_interval(same, n)
    gaps = x - y
    margin = _Z * math.sqrt((gaps.var() * n + 0.5) / (n + 1) / n)
    bias = float(gaps.mean())
    return JudgeCalibration(
        n, same, low, high, bias, bias - margin, bias + margin, float(mean_y - slope * mean_x), slope
    )
