"""Learn from labels on traffic: corrections of a router's forecasts, and whether they may take over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Predictor
from orchestrator.predictors.recalibrated import RecalibratedPredictor, Seen
from orchestrator.text.queries import Queries
from orchestrator.traffic.labels import TrafficLabels, inverse_propensity
from orchestrator.traffic.reliability import Reliability, estimate_reliability, unbiased_success

FEWEST = 30  # labels below which nothing is learned

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """A corrected predictor, and how far each labeller was trusted."""

    predictor: RecalibratedPredictor
    reliability: dict[str, Reliability]
    labels: int


def learn_from_traffic(
    base: Predictor, known: Queries, labels: TrafficLabels, *, most_weight: float | None = None
) -> Learned | None:
    """Correct a fitted predictor by the labels; None where they are too few to say anything.

    Args:
        base: learned from outcomes; it stays as it is.
        known: queries from which it learned.
        labels: of experts in its pool, in its order.
        most_weight: beyond which an inverse propensity does not count; 1 is to ignore propensities.
    """
    if len(labels) < FEWEST:
        return None
    reliability = estimate_reliability(labels, base.predict(labels.queries).astype(np.float64))
    predictor = RecalibratedPredictor(base, known).learn(
        labels.queries, as_seen(labels, reliability, most_weight)
    )
    return Learned(predictor, reliability, len(labels))


def as_seen(
    labels: TrafficLabels, reliability: dict[str, Reliability], most_weight: float | None = None
) -> Seen:
    """Success of single cells as the labels tell it, unbiased; less reliable ones count as noisier."""
    success, variance = unbiased_success(labels, reliability)
    weight = (
        inverse_propensity(labels.propensity)
        if most_weight is None
        else inverse_propensity(labels.propensity, most_weight)
    )
    return Seen(labels.row, labels.expert, success, variance / weight, labels.age())
