"""Cascades: ask cheap experts first, and a dearer one if they are not confident.

A cascade answers like any expert, at a price that depends on the question. So it joins the pool as one more
column of the outcomes: the router predicts its success and its cost, and chooses it for the queries where
the expected gain exceeds the cost, at the same price on cost as any expert. How sure the first ones are is a
confidence in [0, 1]: an expert's own (FrugalGPT, Chen et al. 2023), how short its answer is, or whether two
of them gave the same answer (Yue et al., *Large Language Model Cascades with Mixture of Thoughts
Representations*, 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.selection.hull import convex_hull
from warehouse import Outcomes

THRESHOLDS = (0.25, 0.5, 0.75)  # quantiles of a graded confidence that are tried as the bar

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Signal:
    """The experts asked first (columns of the outcomes), and the confidence in their answers."""

    asked: tuple[int, ...]
    confidence: Floats  # [n] in [0, 1]; NaN where unknown, which escalates
    source: str = ""  # what the confidence comes from; with ``asked`` it names the signal


@dataclass(frozen=True)
class Cascade:
    """Ask ``asked``; return the first one's answer if confidence is above ``bar``, else that of ``last``.

    ``last`` may be the second one asked, whose answer exists already and costs nothing more.
    """

    asked: tuple[int, ...]
    last: int
    bar: float
    source: str = ""  # of the signal

    def name(self, experts: Sequence[str]) -> str:
        """A name for people: the experts asked, the signal, then the expert it escalates to."""
        asked, last = " & ".join(experts[i] for i in self.asked), experts[self.last]
        return f"{asked} by {self.source} above {self.bar:.3g}, else {last}"


def agreements(answers: NDArray[np.object_]) -> list[Signal]:
    """Return one signal for each pair of experts: 1 if both gave the same answer, else 0.

    Args:
        answers: [n, m] each expert's answer, in a form that can be compared; None, NaN or empty where
            unknown. Experts without any known answer make no pair.
    """
    known = is_known(answers)
    usable = np.flatnonzero(known.any(axis=0))
    return [
        Signal(
            (int(i), int(j)),
            np.where(known[:, i] & known[:, j], answers[:, i] == answers[:, j], np.nan).astype(float),
            "agreement",
        )
        for i, j in combinations(usable, 2)
    ]


def brevities(completion_tokens: NDArray[np.floating]) -> list[Signal]:
    """Return signals from the length of answers: the shorter, the more confident.

    An expert that reasons writes more when it is lost, until it is cut off; the cost of what it has written
    counts. There is one signal per expert, from its own length, and one per pair, from which of the two was
    shorter. Long answers of one expert indicate a question that is hard for others too; of two, they
    indicate whose answer to take.

    Args:
        completion_tokens: [n, m]; NaN where unknown, which escalates. Columns with fewer than three lengths
            (an option's letter) say nothing and make no signal.
    """
    tokens = completion_tokens.astype(float)
    usable = _graded_columns(tokens)
    alone = [Signal((j,), 1 / (1 + tokens[:, j]), "brevity") for j in usable]
    return alone + [
        Signal((i, j), (1 + tokens[:, j]) / (2 + tokens[:, i] + tokens[:, j]), "brevity")
        for i, j in combinations(usable, 2)
    ]


def confidences(confidence: NDArray[np.floating]) -> list[Signal]:
    """Return one signal for each expert that reports its confidence.

    Args:
        confidence: [n, m] in [0, 1], such as the probability of the option chosen; NaN where unknown, which
            escalates. Columns with fewer than three values say nothing and make no signal.
    """
    return [Signal((j,), confidence[:, j].astype(float), "confidence") for j in _graded_columns(confidence)]


def is_known(answers: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Tell where there is an answer [n, m]: neither None, nor NaN, nor empty."""
    return np.array([[bool(a) and a == a for a in row] for row in answers], bool)  # NaN is not itself


def choose_cascades(
    outcomes: Outcomes, signals: Sequence[Signal], rows: NDArray[np.intp]
) -> tuple[Cascade, ...]:
    """Return the cascades that no random mixing of experts and other cascades beats on the given questions.

    They are the corners of the zero-router's hull over the pool joined by every possible cascade: every
    signal, with every bar, escalating to every other expert, or to one of those asked.

    Args:
        outcomes: [n, m] outcomes of the pool.
        signals: over the same questions.
        rows: the questions to choose on, never those to be tested on.
    """
    rows = rows[np.isfinite(outcomes.score[rows] + outcomes.cost_usd[rows]).all(axis=1)]
    score, cost = outcomes.score[rows].astype(float), outcomes.cost_usd[rows]
    found: list[Cascade] = []
    quality, price = [score.mean(axis=0)], [cost.mean(axis=0)]
    for signal in signals:
        confidence = signal.confidence[rows]
        first = cost[:, signal.asked].sum(axis=1).mean()
        others = np.array([j for j in range(score.shape[1]) if j != signal.asked[0]])
        added = np.where(np.isin(others, signal.asked), 0.0, cost[:, others])
        for bar in _bars(confidence):
            stands = confidence > bar
            if not len(others) or not stands.any():
                continue
            kept = float((score[:, signal.asked[0]] * stands).mean())
            escalated = (~stands).astype(float) / len(rows)
            quality.append(kept + escalated @ score[:, others])
            price.append(first + escalated @ added)
            found += [Cascade(signal.asked, int(j), bar, signal.source) for j in others]
    m = score.shape[1]
    costs, qualities = np.concatenate(price), np.concatenate(quality)
    corners = set(zip(*convex_hull(costs, qualities), strict=True))
    return tuple(
        cascade
        for cascade, point in zip(found, zip(costs[m:], qualities[m:], strict=True), strict=True)
        if point in corners
    )


def add_cascades(outcomes: Outcomes, signals: Sequence[Signal], cascades: Sequence[Cascade]) -> Outcomes:
    """Return the outcomes with a column for each cascade: its score, and the cost of all experts it asked."""
    confidence = {(signal.asked, signal.source): signal.confidence for signal in signals}
    names = tuple(cascade.name(outcomes.experts) for cascade in cascades)
    columns: dict[str, list[NDArray[np.floating]]] = {}
    for cascade in cascades:
        stands = confidence[cascade.asked, cascade.source] > cascade.bar
        first = cascade.asked[0]
        score = np.where(stands, outcomes.score[:, first], outcomes.score[:, cascade.last])
        columns.setdefault("score", []).append(score)
        for key in ("cost_usd", "prompt_tokens", "completion_tokens", "latency_s"):
            values = getattr(outcomes, key)
            paid = values[:, cascade.asked].sum(axis=1)
            if cascade.last not in cascade.asked:
                paid = paid + np.where(stands, 0.0, values[:, cascade.last])
            columns.setdefault(key, []).append(paid.astype(values.dtype))
    if not cascades:
        return outcomes
    joined: dict[str, Any] = {
        key: np.column_stack([getattr(outcomes, key), *new]) for key, new in columns.items()
    }
    return replace(outcomes, experts=(*outcomes.experts, *names), **joined)


def answered_by(
    choice: NDArray[np.integer], pool: int, signals: Sequence[Signal], cascades: Sequence[Cascade]
) -> NDArray[np.int16]:
    """The expert whose answer was returned [settings, n], for choices among ``pool`` experts and cascades."""
    confidence = {(signal.asked, signal.source): signal.confidence for signal in signals}
    n = choice.shape[1]
    stood = [np.full(n, j) for j in range(pool)]
    stood += [np.where(confidence[c.asked, c.source] > c.bar, c.asked[0], c.last) for c in cascades]
    answered: NDArray[np.int16] = np.stack(stood)[choice, np.arange(n)].astype(np.int16)
    return answered


def _graded_columns(values: NDArray[np.floating]) -> list[int]:
    """Columns of [n, m] with more than two known values: a bar between them can be set."""
    return [j for j, own in enumerate(values.T) if len(np.unique(own[np.isfinite(own)])) > 2]


def _bars(confidence: Floats) -> list[float]:
    known = confidence[np.isfinite(confidence)]
    values = np.unique(known)
    if len(values) < 2:
        return []
    if len(values) == 2:
        return [float(values.mean())]
    return [float(bar) for bar in np.unique(np.quantile(known, THRESHOLDS)) if bar < values[-1]]
