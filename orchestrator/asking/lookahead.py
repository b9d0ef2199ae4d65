"""The value of further asks: the expected gain of one more answer, and of the one after it.

The value of information (Howard 1966) under the beliefs of :mod:`orchestrator.asking.beliefs`, exact over all
ways in which the next two answers can agree. Before the first ask all classes of answers are alike, so that
two steps after each first answer make three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.beliefs import (
    GREATEST_PULL,
    Beliefs,
    Evidence,
    class_mass,
    class_mass_beside,
    sum_of_others,
)
from orchestrator.asking.patterns import Patterns, patterns, ways

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Candidates:
    """Experts that may be asked next: ``k`` of them for each of ``n`` queries."""

    beliefs: Beliefs  # [n, k]
    price: Floats  # [n, k] expected cost of an answer times the multiplier
    unreadable: Floats  # [n, k] share of answers that cannot be used
    comparable: Mask  # [n, k] False: an answer ends the plan, as it is evidence for no other
    first: Mask  # [n, k] may be asked now
    second: Mask  # [n, k, k] the last may be asked after the second


@dataclass(frozen=True)
class Gains:
    """The value of asking each candidate next."""

    net: Floats  # [n, k] gain in success of this and the next answer, less the price; -inf: not allowed
    success: Floats  # [n, k] the part that this answer alone gains, as the model has it


def gains_of_asking(evidence: Evidence, next_: Candidates, trust: Floats, *, steps: int) -> Gains:
    """Return what asking each candidate is worth, with at most ``steps`` (1 or 2) more answers.

    Args:
        evidence: answers given, at least one for each query.
        next_: candidates.
        trust: [2, n] share of a gain in success that the model foresees and that comes true; of the next
            answer and of the one after it.
        steps: to look ahead.
    """
    count = evidence.moments.shape[1] - 1
    chances = np.stack([next_.beliefs.wrong, next_.beliefs.right])  # [2, n, k, nodes]
    pulls = np.stack([np.ones_like(next_.beliefs.pull), next_.beliefs.pull])  # [2, n, k]
    one = patterns(count, 1)
    mass = _with_absent(np.einsum("naz,bnkz->nabk", evidence.moments, chances), 2)
    pull = _with_absent(np.einsum("na,bnk->nabk", evidence.pull, pulls), 2)
    masses, rest = _masses(evidence, one, mass, pull)
    drawn = ways(evidence.others, one.new)[:, :, None]
    stop = drawn * masses.max(axis=2)  # [n, outcomes, k]
    free = np.maximum(evidence.others[:, None] - one.new, 0)[:, :, None]
    reach = drawn * (masses.sum(axis=2) + free * rest)
    total = reach.sum(axis=1)
    now = _stop_value(evidence, total)
    share = 1 - next_.unreadable
    after = stop.sum(axis=1)
    if not next_.comparable.all():
        alone = (drawn * masses[:, np.arange(len(one.new)), one.said]).sum(axis=1)
        after = np.where(next_.comparable, after, np.maximum(now, alone))
    success = share * (after - now) / total
    net = trust[0][:, None] * success - next_.price
    if steps > 1:
        later = _later_gains(evidence, next_, chances, pulls, stop, reach, trust[1])
        net = net + np.where(next_.comparable, share * later / total, 0.0)
    return Gains(np.where(next_.first, net, -np.inf), success)


def _later_gains(
    evidence: Evidence,
    next_: Candidates,
    chances: Floats,
    pulls: Floats,
    stop: Floats,
    reach: Floats,
    trust: Floats,
) -> Floats:
    """The net gain of a second ask after the first [n, k], together with the chance of coming there."""
    n, count = len(evidence.others), evidence.moments.shape[1] - 1
    k = next_.price.shape[1]
    two = patterns(count, 2)
    nodes = chances.shape[-1]
    firsts = (
        evidence.moments[:, :, None, None, :] * np.moveaxis(chances, 0, 1)[:, None]
    )  # [n, a, 2, k, nodes]
    seconds = np.moveaxis(chances, 0, 1).reshape(n, 2 * k, nodes)
    mass = (firsts.reshape(n, -1, nodes) @ seconds.transpose(0, 2, 1)).reshape(n, count + 1, 2, k, 2, k)
    by_pull = evidence.pull[:, :, None, None] * np.moveaxis(pulls, 0, 1)[:, None]
    pull = by_pull[:, :, :, None, :, None] * np.moveaxis(pulls, 0, 1)[:, None, None, :, None, :]
    masses, _ = _masses(
        evidence, two, _with_absent(np.moveaxis(mass, 4, 3), 3), _with_absent(pull, 3), remainder=False
    )
    drawn = ways(evidence.others, two.new)[:, :, None, None]
    after = np.add.reduceat(drawn * masses.max(axis=2), two.starts, axis=1)  # [n, outcomes, k, k]
    held = stop[:, :, :, None]
    if not next_.comparable.all():
        said = masses[:, np.arange(len(two.new)), two.said]
        alone = np.add.reduceat(drawn * said, two.starts, axis=1)
        after = np.where(next_.comparable[:, None, None, :], after, np.maximum(held, alone))
    share = (trust[:, None] * (1 - next_.unreadable))[:, None, None, :]
    gain = share * (after - held) - next_.price[:, None, None, :] * reach[:, :, :, None]
    gain = np.where(next_.second[:, None], gain, 0.0)
    later: Floats = np.maximum(gain.max(axis=3), 0.0).sum(axis=1)
    return later


def _masses(
    evidence: Evidence, ahead: Patterns, mass: Floats, pull: Floats, *, remainder: bool = True
) -> tuple[Floats, Floats]:
    """Likelihood of each pattern with each class being right [n, c, classes, ...], and with any other.

    Classes that do not come up in a pattern have 0.
    """
    shape = (len(mass),) + (1,) * (mass.ndim - 1)
    free = np.maximum(evidence.others[:, None] - ahead.new, 0).reshape(
        (len(mass), len(ahead.new)) + (1,) * (mass.ndim - 2)
    )
    own_mass, own_pull = mass[:, ahead.entry], pull[:, ahead.entry]  # [n, c, classes, ...]
    rest_mass = mass[:, ahead.rest][:, None]
    inverted = evidence.inverted.reshape(shape)
    one = np.ones(1)
    if own_pull.max(initial=0.0) > GREATEST_PULL:  # after many answers that agree
        masses = class_mass_beside(
            own_mass,
            own_pull,
            sum_of_others(own_mass, axis=2) + (free * rest_mass)[:, :, None],
            sum_of_others(own_pull, axis=2) + free[:, :, None],
            inverted[:, :, None],
        )
        beside = np.maximum(free - 1, 0)
        others = own_mass.sum(axis=2) + beside * rest_mass, own_pull.sum(axis=2) + beside
        return masses, class_mass_beside(rest_mass, one, *others, inverted)
    told = own_mass.sum(axis=2) + free * rest_mass
    popular = own_pull.sum(axis=2) + free
    masses = class_mass(own_mass, own_pull, told[:, :, None], popular[:, :, None], inverted[:, :, None])
    if not remainder:
        return masses, masses
    return masses, class_mass(rest_mass, one, told, popular, inverted)


def _with_absent(table: Floats, leading: int) -> Floats:
    """Flatten the leading axes after the first to one, and add a place of zeros for what does not come up."""
    n, tail = len(table), table.shape[1 + leading :]
    flat = table.reshape((n, -1, *tail))
    return np.concatenate([flat, np.zeros((n, 1, *tail))], axis=1)


def _stop_value(evidence: Evidence, total: Floats) -> Floats:
    """What the best answer at hand is worth [n, 1], in the same units as the masses of one more answer."""
    best: Floats = evidence.posterior()[:, :-1].max(axis=1, keepdims=True) * total
    return best
