"""Learn corrections of a router's forecasts from labels on traffic, and test whether they may apply."""

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
    """A corrected predictor, with the estimated reliability of each labeller."""

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
    """Correct a fitted predictor by the labels; None if there are too few.

    Args:
        base: the predictor learned from outcomes; it is not changed.
        known: the queries that it learned from.
        labels: of the experts in its pool, in the same order.
        forecast: [n, m] predictions of ``base`` for the labels' requests, if known already.
        most_weight: maximum inverse propensity weight; 1 ignores propensities.
    """
    if len(labels) < FEWEST:
        return None
    forecast = base.predict(labels.queries) if forecast is None else forecast
    reliability = estimate_reliability(labels, forecast.astype(np.float64))
    seen = as_seen(labels, reliability, forecast, most_weight)
    predictor = RecalibratedPredictor(base, known).learn(labels.queries, forecast, seen)
    return Learned(predictor, reliability, len(labels))


def learn_if_proven(base: Predictor, known: Queries, labels: TrafficLabels) -> Learned | None:
    """Learn from the labels; None unless corrections learned from earlier labels predicted later ones better.

    The labels are cut into successive parts. Each part is forecast by ``base`` and by what was learned from
    the parts before it; :func:`~orchestrator.traffic.gate.may_take_over` decides on all of them.
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
    """Return both routers' forecasts of labels new to them; ``forecast`` [n, m] is that of ``base``."""
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
    """Return unbiased success of single cells from the labels; unreliable labels have a larger variance."""
    success, variance = unbiased_success(labels, reliability, forecast)
    weight = inverse_propensity(labels.propensity, most_weight)
    return Seen(labels.row, labels.expert, success, variance / weight, labels.age())


def describe_lesson(labels: TrafficLabels, lesson: Learned | None) -> dict[str, Any]:
    """Return label counts, their effect and the labellers' reliability, to describe a router."""
    counts = np.bincount(labels.labeller, minlength=len(labels.labellers))
    return {
        "labels": {name: int(count) for name, count in zip(labels.labellers, counts, strict=True)},
        "requests": len(labels.queries),
        "learned": lesson is not None,
        "reliability": {name: [r.of_bad, r.of_good] for name, r in lesson.reliability.items()}
        if lesson
        else {},
    }
