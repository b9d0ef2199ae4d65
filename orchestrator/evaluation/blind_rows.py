"""Policies that do not look at the query: the best random mixes of plain plans, chosen where one learns.

Each is a set of plans on the corners of a hull (cost, accuracy) over train and validation: single experts
(the zero-router without hindsight), votes of small sets, cascades by agreement. A router that reads the query
has to beat them at equal cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.readings import Readings
from orchestrator.selection.cascade import add_cascades, agreements, answered_by, choose_cascades
from orchestrator.selection.hull import convex_hull
from orchestrator.selection.sweep import PolicyPoints
from warehouse import Outcomes

FOURTH = 30  # votes of three that a fourth is tried on

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class BlindRow:
    """A policy's settings on some questions."""

    points: Callable[[Rows], PolicyPoints]
    calls: Callable[[Rows], Floats]  # answers one after the other [settings, n]


@dataclass(frozen=True)
class Vote:
    """Ask in this order until two agree; where none do, the one that is right most often stands."""

    asked: tuple[int, ...]


def fitted_singles(outcomes: Outcomes, seen: Rows) -> BlindRow:
    """Return the single experts on the hull of the questions seen."""
    score, cost = outcomes.score, outcomes.cost_usd
    columns = _corners(np.nanmean(cost[seen], axis=0), np.nanmean(score[seen], axis=0))

    def points(rows: Rows) -> PolicyPoints:
        choice = np.repeat(columns[:, None], len(rows), axis=1)
        return PolicyPoints(score[rows[None], choice], cost[rows[None], choice], choice.astype(np.int16))

    return BlindRow(points, lambda rows: np.ones((len(columns), len(rows))))


def agreement_cascades(outcomes: Outcomes, readings: Readings, seen: Rows) -> BlindRow:
    """Return the corners of the hull of single experts and cascades by agreement of two."""
    keys = np.where(readings.classes >= 0, readings.classes + 1, 0).astype(object)
    signals = agreements(keys)
    cascades = choose_cascades(outcomes, signals, seen)
    wider = add_cascades(outcomes, signals, cascades)
    columns = _corners(np.nanmean(wider.cost_usd[seen], axis=0), np.nanmean(wider.score[seen], axis=0))
    whole = np.arange(len(outcomes))
    stood = answered_by(
        np.repeat(columns[:, None], len(whole), axis=1), len(outcomes.experts), signals, cascades
    )
    asked = [1.0] * len(outcomes.experts) + [2.0] * len(cascades)

    def points(rows: Rows) -> PolicyPoints:
        return PolicyPoints(
            wider.score[rows[None], columns[:, None]],
            wider.cost_usd[rows[None], columns[:, None]],
            stood[:, rows],
        )

    return BlindRow(points, lambda rows: np.repeat(np.array(asked)[columns][:, None], len(rows), axis=1))


def blind_votes(outcomes: Outcomes, readings: Readings, seen: Rows) -> BlindRow:
    """Return the corners of the hull of single experts and votes of three and of four."""
    score, cost, classes = outcomes.score, outcomes.cost_usd, readings.classes
    seen = seen[np.isfinite(score[seen] + cost[seen]).all(axis=1)]
    m = score.shape[1]
    trusted = score[seen].mean(axis=0)  # how often each expert is right

    def play(vote: Vote, rows: Rows) -> tuple[Rows, Floats, Floats]:
        return _play(vote, classes[rows], cost[rows], trusted)

    def measure(votes: list[Vote]) -> tuple[Floats, Floats]:
        figures = [(score[seen, who].mean(), paid.mean()) for who, paid, _ in (play(v, seen) for v in votes)]
        quality, price = np.array(figures).T
        return price, quality

    votes = [Vote((e,)) for e in range(m)]
    votes += [
        Vote((*pair, third)) for pair in combinations(range(m), 2) for third in range(m) if third not in pair
    ]
    price, quality = measure(votes)
    hull = convex_hull(price, quality)
    below = np.interp(price, *hull) - quality
    close = [votes[i] for i in np.argsort(below, kind="stable")[:FOURTH] if len(votes[i].asked) > 1]
    wider = [Vote((*v.asked, fourth)) for v in close for fourth in range(m) if fourth not in v.asked]
    if wider:
        more_price, more_quality = measure(wider)
        votes, price, quality = votes + wider, np.append(price, more_price), np.append(quality, more_quality)
    chosen = [votes[i] for i in _corners(price, quality)]

    def points(rows: Rows) -> PolicyPoints:
        played = [play(vote, rows) for vote in chosen]
        choice = np.stack([who for who, _, _ in played])
        paid = np.stack([usd for _, usd, _ in played])
        return PolicyPoints(score[rows[None], choice], paid, choice.astype(np.int16))

    return BlindRow(points, lambda rows: np.stack([play(vote, rows)[2] for vote in chosen]))


def _play(
    vote: Vote, classes: NDArray[np.int16], cost_usd: Floats, trusted: Floats
) -> tuple[Rows, Floats, Floats]:
    """Whose answer stands [n], what was paid [n] and how many were asked [n]."""
    n = len(classes)
    going = np.ones(n, bool)
    paid, calls = np.zeros(n), np.zeros(n)
    stands = np.full(n, vote.asked[0])
    worth = np.full(n, -1.0)  # of the answer that stands
    for i, expert in enumerate(vote.asked):
        paid += np.where(going, cost_usd[:, expert], 0.0)
        calls += going
        own = classes[:, expert]
        better = going & (own != -1) & (trusted[expert] > worth)
        stands, worth = np.where(better, expert, stands), np.where(better, trusted[expert], worth)
        for other in vote.asked[:i]:
            agreed = going & (own >= 0) & (own == classes[:, other])
            stands = np.where(agreed, other, stands)
            going = going & ~agreed
    return stands, paid, calls


def _corners(price: Floats, quality: Floats) -> Rows:
    """Which points are corners of the hull, from dear to cheap: the first is without pressure."""
    found = set(zip(*convex_hull(price, quality), strict=True))
    points = list(zip(price.tolist(), quality.tolist(), strict=True))
    at = {point: i for i, point in reversed(list(enumerate(points)))}
    return np.array([at[point] for point in sorted(found, reverse=True)], np.intp)
