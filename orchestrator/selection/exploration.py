"""Exploration: sometimes an expert other than the best one answers, with an exactly known probability.

Of ``share`` of the queries the expert is drawn from a softmax over expected net value (Boltzmann
exploration: Sutton and Barto, Reinforcement Learning, 2nd edition, section 2.8); for the rest it is the
greedy one. The mixture bounds both sides: at most ``share`` of the queries deviate from the greedy choice,
and every allowed expert has a probability above zero, without which logged decisions tell nothing about it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from warehouse import InputError

DEFAULT_TEMPERATURE = 0.1  # points of success: an expert worth this much less is drawn 1/e as often


def explore(
    value: NDArray[np.floating],
    allowed: NDArray[np.bool_],
    share: float,
    temperature: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Draw the expert of every query, and return the probability of each possible draw.

    Args:
        value: [n, m] expected net value; ignored for experts that are not allowed.
        allowed: [n, m] experts that may be drawn, one or more in each row.
        share: share of the queries, in [0, 1], whose expert the softmax draws; 0 is greedy.
        temperature: of the softmax, in units of value; above 0.
        rng: source of randomness.

    Returns:
        The experts drawn [n], and the propensities [n, m]: each row sums to 1, and is 0 outside ``allowed``.

    Raises:
        InputError: ``share`` lies outside [0, 1], ``temperature`` is not above 0, or a row allows no expert.
    """
    propensities = propensities_of(value, allowed, share, temperature)
    # Not searchsorted over the sums: rounding could draw an expert of chance 0 at either end.
    below = rng.random((len(propensities), 1)) * propensities.sum(axis=1, keepdims=True)
    drawn = (np.cumsum(propensities, axis=1) > below).argmax(axis=1)
    return drawn, propensities


def propensities_of(
    value: NDArray[np.floating], allowed: NDArray[np.bool_], share: float, temperature: float
) -> NDArray[np.float64]:
    """Return the probability [n, m] with which :func:`explore` draws each; arguments and errors as there."""
    check_exploration(share, temperature)
    if not allowed.any(axis=1).all():
        row = int((~allowed.any(axis=1)).argmax())
        raise InputError("no expert is allowed", where=f"query {row + 1}", fix="allow at least one expert")
    values = np.where(allowed, np.asarray(value, np.float64), -np.inf)
    best = values.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # a difference beyond the numbers is a chance of 0
        weights = np.exp((values - best) / temperature)
    drawn: NDArray[np.float64] = share * weights / weights.sum(axis=1, keepdims=True)
    greedy = np.arange(len(values)), values.argmax(axis=1)
    others = drawn.sum(axis=1) - drawn[greedy]
    drawn[greedy] = 1.0 - others  # so that a row sums to 1 to the last bit but one
    return drawn


def check_exploration(share: float, temperature: float) -> None:
    """Check the settings of exploration.

    Raises:
        InputError: as :func:`explore`.
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share of queries to explore on is {share:g}", fix="give 0 (none) to 1 (all)")
    if not 0 < temperature < np.inf:
        raise InputError(
            f"the temperature of exploration is {temperature:g}",
            fix=f"give one above 0, such as {DEFAULT_TEMPERATURE:g}",
        )
