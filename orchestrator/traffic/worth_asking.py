"""Choose recorded requests to ask other experts about, where an answer would teach the router most.

An answer is worth something if it may change a choice. An expert's value on a request is uncertain. The
expected gain of knowing it is the mean amount by which it would overtake the expert that is chosen today;
for that expert, the amount by which it would fall behind the next one (the knowledge gradient; Frazier,
Powell and Dayanik, *A knowledge-gradient policy for sequential information collection*, 2008). An answer is
worth much if the experts' forecasts are close or little is known, and nothing if one expert leads by far.
Similar requests tell about each other, so that each further one is worth less.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from warehouse import InputError

SPREAD = 0.15  # deviation of an expert's success from its forecast on what the router has never seen
FAMILIAR = 0.5  # share of it where a request is like those that outcomes are known of
GROUPS = 24  # of requests that are alike
NEVER = -1e30  # value of an expert that may not be asked
REPEAT = 0.5  # what an expert's answer loses in worth with each earlier one to a request that is alike

Floats = NDArray[np.floating]
Pairs = list[tuple[int, int]]


def choose_shadows(
    success_hat: Floats,
    cost_hat: Floats,
    embedding: Floats,
    seen: Floats,
    budget_usd: float,
    weights: Floats,
    *,
    multiplier: float = 0.0,
    uncertainty: Floats | None = None,
    answered: NDArray[np.integer] | None = None,
    judge_usd: float = 0.0,
    most_requests: int | None = None,
) -> Pairs:
    """Choose pairs of a request and an expert to ask, by falling worth per dollar.

    Args:
        success_hat: [n, m] forecasts; NaN for an expert that may not be asked.
        cost_hat: [n, m] forecast cost of an answer in USD.
        embedding: [n, d] of the requests, rows of unit length.
        seen: [k, d] embeddings of queries with known outcomes; may be empty.
        budget_usd: maximum expected cost of all pairs.
        weights: [n] weights of the requests; 0 leaves one out.
        multiplier: success that a dollar has to buy, as in the router's choice.
        uncertainty: [n, m] standard deviations of the forecasts; derived from novelty if not given.
        answered: [n] column of the expert whose answer exists already, -1 for none. Such a pair costs only
            the judge.
        judge_usd: cost of a verdict.
        most_requests: maximum number of different requests.

    Raises:
        InputError: the shapes differ, or the budget is negative.
    """
    n, m = success_hat.shape
    _refuse_misfits(success_hat, cost_hat, embedding, budget_usd, weights)
    if not n:
        return []
    spread = _novelty_spread(embedding, seen)[:, None] if uncertainty is None else uncertainty
    value = np.where(np.isfinite(success_hat), success_hat - multiplier * cost_hat, NEVER)
    gain = _gain_of_knowing(value, np.broadcast_to(spread, (n, m)))
    price = np.nan_to_num(cost_hat) + judge_usd
    if answered is not None:
        rows = np.flatnonzero(answered >= 0)
        price[rows, answered[rows]] = judge_usd
    worth = np.where(np.isfinite(success_hat), np.maximum(weights, 0)[:, None] * gain, 0.0)
    return _take(worth, price, _group(embedding), budget_usd, n if most_requests is None else most_requests)


def _take(worth: Floats, price: Floats, group: NDArray[np.intp], left_usd: float, most: int) -> Pairs:
    """Take by worth per dollar; each answer makes those of the same expert in its group worth less."""
    per_usd = worth / np.maximum(price, 1e-9)
    pairs: Pairs = []
    rows: set[int] = set()
    while True:
        per_usd[price > left_usd] = 0.0
        at = int(per_usd.argmax())
        row, expert = divmod(at, worth.shape[1])
        if not per_usd[row, expert] > 0:
            return pairs
        pairs.append((row, expert))
        rows.add(row)
        left_usd -= float(price[row, expert])
        per_usd[row, expert] = 0.0
        per_usd[group == group[row], expert] *= REPEAT
        if len(rows) >= most:
            per_usd[[i for i in range(len(worth)) if i not in rows]] = 0.0
            most = len(worth) + 1  # rows that were taken may still be asked more experts


def _gain_of_knowing(value: Floats, spread: Floats) -> NDArray[np.float64]:
    """Expected change [n, m] of the best value, once an expert's own is known: E[max(0, gap + spread z)]."""
    from scipy.special import ndtr

    if value.shape[1] < 2:
        return np.zeros(value.shape)
    rows, lead = np.arange(len(value)), value.argmax(axis=1)
    ordered = np.sort(value, axis=1)
    gap = value - ordered[:, -1:]
    gap[rows, lead] = ordered[:, -2] - ordered[:, -1]
    scale = np.maximum(spread, 1e-9)
    z = np.maximum(gap / scale, -30.0)
    gain: NDArray[np.float64] = scale * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
    return np.maximum(gain, 0.0)


def _novelty_spread(embedding: Floats, seen: Floats) -> NDArray[np.float64]:
    """How uncertain forecasts are [n]: more, the less alike the nearest question of known outcome is."""
    if not len(seen):
        return np.full(len(embedding), SPREAD)
    nearest = np.concatenate(
        [(embedding[i : i + 256] @ seen.T).max(axis=1) for i in range(0, len(embedding), 256)]
    )
    novelty: NDArray[np.float64] = np.clip(1 - nearest.astype(np.float64), 0, 1)
    return SPREAD * (FAMILIAR + (1 - FAMILIAR) * novelty)


def _group(embedding: Floats) -> NDArray[np.intp]:
    """Put requests that are alike together [n]: around a few that lie far apart (Gonzalez, 1985)."""
    group = np.zeros(len(embedding), np.intp)
    nearest = embedding @ embedding[0]
    for number in range(1, min(GROUPS, len(embedding))):
        centre = int(nearest.argmin())
        likeness = embedding @ embedding[centre]
        closer = likeness > nearest
        group[closer], nearest = number, np.maximum(nearest, likeness)
    return group


def _refuse_misfits(
    success_hat: Floats, cost_hat: Floats, embedding: Floats, budget_usd: float, weights: Floats
) -> None:
    n = len(success_hat)
    if cost_hat.shape != success_hat.shape or len(embedding) != n or weights.shape != (n,):
        raise InputError(
            f"forecasts {success_hat.shape}, costs {cost_hat.shape}, embeddings {embedding.shape} and "
            f"weights {weights.shape} are not of the same requests",
            fix="give [n, m], [n, m], [n, d] and [n]",
        )
    if not budget_usd >= 0:
        raise InputError(f"the budget of ${budget_usd:g} is negative", fix="give 0 or more")
