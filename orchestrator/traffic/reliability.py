"""Reliability of labellers, estimated without ground truth from the agreement of labels and forecasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.traffic.labels import Audit, TrafficLabels

GOLD = "gold"
PRIOR_RIGHT = 0.8  # chance that a label is what it should be, before anything is known of its labeller
FEWEST_AUDITED = (
    20  # good and bad answers of known truth from which an audit alone says what a labeller is worth
)
PRIOR_LABELS = 40.0  # labels' worth of that belief, for good answers and again for bad ones
ROUNDS = 30
LEAST_VARIANCE = 0.05  # of a label: a forecast may be wrong where it is sure
LEAST_SLOPE = 0.1  # below it a labeller says next to nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """The mean label that a labeller gives to bad answers and to good ones."""

    of_bad: float
    of_good: float

    @property
    def slope(self) -> float:
        """Difference between the mean labels of good and of bad answers."""
        return max(self.of_good - self.of_bad, LEAST_SLOPE)


def estimate_reliability(labels: TrafficLabels, forecast: Floats) -> dict[str, Reliability]:
    """Estimate every labeller's reliability by expectation maximisation (Dawid and Skene 1979).

    Whether an answer is good is latent. Its prior probability is the forecast, shifted per expert by the
    labels as a whole. Two labellers of one answer tell most about each other; a single labeller is judged
    by how well its labels follow the forecasts. With few labels the prior dominates. If a labeller was
    audited on answers of known score, only the audit counts, since labels alone cannot tell stricter
    labellers from worse answers when success falls everywhere at once.

    Args:
        labels: an answer may have several.
        forecast: [n, m] expected success on the requests.
    """
    answer, cell = np.unique(labels.row * len(labels.experts) + labels.expert, return_inverse=True)
    column = answer % len(labels.experts)
    chance = np.clip(forecast[answer // len(labels.experts), column].astype(np.float64), 0.02, 0.98)
    found = {
        name: Reliability(0.0, 1.0) if name == GOLD else Reliability(1 - PRIOR_RIGHT, PRIOR_RIGHT)
        for name in labels.labellers
    }
    if not len(labels):
        return found
    shift = np.zeros(len(labels.experts))
    log_odds = np.log(chance / (1 - chance))
    for _ in range(ROUNDS):
        told = _evidence(labels, cell, len(answer), found)
        good = 1 / (1 + np.exp(-(log_odds + shift[column] + told)))
        for j in range(len(shift)):
            shift[j] = _move(log_odds[column == j], good[column == j], shift[j])
        found = {
            name: old
            if name == GOLD
            else _reliability(labels.label, good[cell], labels.labeller == i, labels.audits.get(name))
            for i, (name, old) in enumerate(found.items())
        }
    return found


def unbiased_success(
    labels: TrafficLabels, reliability: dict[str, Reliability], forecast: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """Return success [c] corrected for the labellers' bias, and its variance; it may leave [0, 1].

    A label with mean a for bad answers and a + b for good ones becomes (label - a) / b. Its variance is
    that of the labels at the forecast success [n, m].
    """
    expected = np.clip(forecast[labels.row, labels.expert].astype(np.float64), 0.05, 0.95)
    bad = np.array([reliability[name].of_bad for name in labels.labellers])[labels.labeller]
    slope = np.array([reliability[name].slope for name in labels.labellers])[labels.labeller]
    praise = bad + slope * expected
    return (labels.label - bad) / slope, np.maximum(praise * (1 - praise), LEAST_VARIANCE) / slope**2


def _evidence(
    labels: TrafficLabels, cell: NDArray[np.intp], answers: int, found: dict[str, Reliability]
) -> Floats:
    """Log likelihood ratio [answers] of good against bad by all labels of an answer; scores count in part."""
    of_good = np.array([found[name].of_good for name in labels.labellers])[labels.labeller]
    of_bad = np.array([found[name].of_bad for name in labels.labellers])[labels.labeller]
    good, bad = np.clip(of_good, 1e-3, 1 - 1e-3), np.clip(of_bad, 1e-3, 1 - 1e-3)
    ratio = labels.label * np.log(good / bad) + (1 - labels.label) * np.log((1 - good) / (1 - bad))
    return np.asarray(np.bincount(cell, ratio, minlength=answers), np.float64)


def _move(log_odds: Floats, good: Floats, shift: float) -> float:
    """One Newton step towards the shift of an expert's log odds that gives forecasts the mean of ``good``."""
    if not len(good):
        return shift
    chance = 1 / (1 + np.exp(-(log_odds + shift)))
    slope = float((chance * (1 - chance)).sum()) + 1.0  # a normal prior of deviation 1
    return shift + (float((good - chance).sum()) - shift) / slope


def _reliability(label: Floats, good: Floats, own: NDArray[np.bool_], audit: Audit | None) -> Reliability:
    if audit is not None and min(audit.bad, audit.good) >= FEWEST_AUDITED:
        weight, y, told = np.zeros(0), np.zeros(0), audit
    else:
        weight, y, told = good[own], label[own], audit or Audit(0, 0, 0, 0)
    return Reliability(
        (float((1 - weight) @ y) + told.praise_of_bad + PRIOR_LABELS * (1 - PRIOR_RIGHT))
        / (float((1 - weight).sum()) + told.bad + PRIOR_LABELS),
        (float(weight @ y) + told.praise_of_good + PRIOR_LABELS * PRIOR_RIGHT)
        / (float(weight.sum()) + told.good + PRIOR_LABELS),
    )
