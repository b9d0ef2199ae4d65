"""Learn from labels on traffic: corrections of a router's forecasts, and whether they may take over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Predictor
from orchestrator.predictors.recalibrated import RecalibratedPredictor, Seen
from orchestrator.text.queries import Queries
from orchestrator.traffic.gate import Foretold, may_take_over
from orchestrator.traffic.labels import MOST_WEIGHT, TrafficLabels, inverse_propensity
from orchestrator.traffic.reliability import Reliability, estimate_reliability, unbiased_success

FEWEST = 30  # labels below which nothing is learned

Floats = NDArray[np.float64]


LESSONS = 6  # parts of the past, each foretold from those before it


@dataclass(frozen=True)
class Learned:
    """A corrected predictor, and how far each labeller was trusted."""

    predictor: RecalibratedPredictor
    reliability: dict[str, Reliability]
    labels: int


def learn_from_traffic(
    base: Predictor,
    known: Queries,
    labels: TrafficLabels,
    forecast: NDArray[np.float32] | None = None,
    *,
    most_weight: float = MOST_WEIGHT,
) -> Learned | None:
    """Correct a fitted predictor by the labels; None where they are too few to say anything.

    Args:
        base: learned from outcomes; it stays as it is.
        known: queries from which it learned.
        labels: of experts in its pool, in its order.
        forecast: [n, m] what ``base`` says of the labels' requests, where that is known.
        most_weight: beyond which an inverse propensity does not count; 1 is to ignore propensities.
    """
    if len(labels) < FEWEST:
        return None
    forecast = base.predict(labels.queries) if forecast is None else forecast
    reliability = estimate_reliability(labels, forecast.astype(np.float64))
    seen = as_seen(labels, reliability, forecast, most_weight)
    predictor = RecalibratedPredictor(base, known).learn(labels.queries, forecast, seen)
    return Learned(predictor, reliability, len(labels))


def learn_if_proven(base: Predictor, known: Queries, labels: TrafficLabels) -> Learned | None:
    """Learn from the labels; None unless what was learned from the past has foretold what followed.

    The labels are cut into successive parts; each is forecast by ``base`` and by what was learned from the
    parts before it, and :func:`~orchestrator.traffic.gate.may_take_over` decides on all of them.
    """
    history = []
    forecast = base.predict(labels.queries)
    order = np.argsort(labels.served_at[labels.row], kind="stable")
    parts = np.array_split(order, LESSONS)
    for number in range(1, LESSONS):
        past, fresh = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
        past[np.concatenate(parts[:number])], fresh[parts[number]] = True, True
        learned = learn_from_traffic(base, known, labels.only(past), forecast)
        if learned is not None:
            history.append(foretell(labels.only(fresh), forecast, learned))
    return learn_from_traffic(base, known, labels, forecast) if may_take_over(history) else None


def foretell(fresh: TrafficLabels, forecast: NDArray[np.float32], learned: Learned) -> Foretold:
    """What both routers said of labels that neither learned from; the frozen one's is ``forecast`` [n, m]."""
    success, variance = unbiased_success(fresh, learned.reliability, forecast)
    cells = fresh.row, fresh.expert
    return Foretold(
        success,
        variance,
        forecast[cells].astype(np.float64),
        learned.predictor.correct(fresh.queries, forecast)[cells].astype(np.float64),
    )


def as_seen(
    labels: TrafficLabels,
    reliability: dict[str, Reliability],
    forecast: NDArray[np.float32],
    most_weight: float = MOST_WEIGHT,
) -> Seen:
    """Success of single cells as the labels tell it, unbiased; less reliable ones count as noisier."""
    success, variance = unbiased_success(labels, reliability, forecast)
    weight = inverse_propensity(labels.propensity, most_weight)
    return Seen(labels.row, labels.expert, success, variance / weight, labels.age())


def describe_lesson(labels: TrafficLabels, lesson: Learned | None) -> dict[str, Any]:
    """For the description of a router: how many labels of whom, whether they changed it, whom it trusts."""
    counts = np.bincount(labels.labeller, minlength=len(labels.labellers))
    return {
        "labels": {name: int(count) for name, count in zip(labels.labellers, counts, strict=True)},
        "requests": len(labels.queries),
        "learned": lesson is not None,
        "reliability": {name: [r.of_bad, r.of_good] for name, r in lesson.reliability.items()}
        if lesson
        else {},
    }
