"""The value of further asks before the first one: a lookahead of three answers, in one table.

Before the first answer all classes of answers are alike, and what three answers say of each other does not
depend on their order: of two experts or three there are only so many sets, each with a handful of ways to
agree. They are weighed once and read off for every order. The result is that of
:func:`orchestrator.asking.lookahead.gains_of_asking` after each first answer, for a tenth of the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.beliefs import WEIGHT, Beliefs, class_mass

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

#: The class of each of three answers, as bits (first 4, second 2, third 1), by how they agree: all; all but
#: the third, the second, the first; none.
AGREE = np.array([[7, 7, 7], [6, 6, 1], [5, 2, 5], [4, 3, 3], [4, 2, 1]])
CLASSES = np.array([1, 2, 2, 2, 3])
PRESENT = np.array([[float(bits in row) for bits in range(8)] for row in AGREE])  # [5, 8]


@dataclass(frozen=True)
class FirstCandidates:
    """Experts that may be asked first, second and third: ``k`` of them for each of ``n`` queries."""

    beliefs: Beliefs  # [n, k]
    price: Floats  # [n, k] expected cost of an answer times the multiplier
    unreadable: Floats  # [n, k] share of answers that cannot be used
    comparable: Mask  # [n, k] False: an answer ends the plan
    second: Mask  # [n, k, k] the last may be asked after the first
    third: Mask  # [n, k, k, k], or as much of it as differs: the last may be asked after those two


def gains_after_first(next_: FirstCandidates, trust: Floats, *, steps: int) -> Floats:
    """Return what asking on is worth after a readable answer of each candidate [n, k], at least 0.

    Args:
        next_: candidates. Nothing is gained after those whose answers cannot be compared.
        trust: [2, n] share of a gain foreseen that comes true, of a second and of a third answer.
        steps: further answers to look ahead, 1 or 2.
    """
    n, k = next_.price.shape
    if k < 2:
        return np.zeros((n, k))
    orders = _orders(k)
    b = next_.beliefs
    chances = np.stack([b.wrong, b.right], axis=2)  # [n, k, 2, nodes]
    weighed = chances[:, orders.pair_i] * WEIGHT
    pairs = (weighed[:, :, :, None] * chances[:, orders.pair_j][:, :, None]).reshape(n, -1, len(WEIGHT))
    weights = _weigh_pairs(next_, pairs.sum(axis=2).reshape(n, -1, 4), orders)
    after, held, reach = weights  # [n, pairs, 2] stop values by class, and likelihoods: agree or not
    flat = orders.pair  # [k, k] place of the pair
    agree, differ = held[:, flat, 0], held[:, flat, 1]
    total = reach[:, flat, 0] + reach[:, flat, 1]
    own = np.einsum("nkz,z->nk", b.right, WEIGHT)
    single = (1 - b.inverted[:, None]) * own + b.inverted[:, None] * (1 - own) * _popular(b)
    now = single[:, :, None] * total
    both = agree + differ
    if not next_.comparable.all():
        alone = after[:, flat, orders.second_place].sum(axis=-1)
        both = np.where(next_.comparable[:, None, :], both, np.maximum(now, alone))
    share = (1 - next_.unreadable)[:, None, :]
    net = trust[0][:, None, None] * share * (both - now) / total - next_.price[:, None, :]
    if steps > 1 and k > 2:
        later = _third_gains(next_, pairs, (agree, differ), (reach[:, flat, 0], reach[:, flat, 1]), trust[1])
        net = net + np.where(next_.comparable[:, None, :], share * later / total, 0.0)
    best = np.where(next_.second, net, -np.inf).max(axis=2)
    gained: Floats = np.where(next_.comparable, np.maximum(best, 0.0), 0.0)
    return gained


def _popular(b: Beliefs) -> Floats:
    """Share of wrong answers that fall on the popular one [n, k]."""
    share: Floats = b.pull / (b.pull + b.classes[:, None] - 2)
    return share


def _weigh_pairs(next_: FirstCandidates, mass: Floats, orders: _Orders) -> tuple[Floats, Floats, Floats]:
    """Weigh two answers that agree or differ.

    Returns:
        Likelihood with the class of each member being right [n, pairs, 2, 2: agree or not], in all ways;
        with the likelier one being right [n, pairs, 2]; and in all [n, pairs, 2].
    """
    b = next_.beliefs
    ways = (b.classes - 1)[:, None]
    e = b.inverted[:, None]
    pull_i, pull_j = b.pull[:, orders.pair_i], b.pull[:, orders.pair_j]
    none, only_j, only_i, joint = (mass[:, :, bits] for bits in range(4))
    told, popular = joint + ways * none, pull_i * pull_j + ways
    agree = class_mass(joint, pull_i * pull_j, told, popular, e)
    reach_agree = agree + ways * class_mass(none, np.ones(1), told, popular, e)
    free = np.maximum(ways - 1, 0)
    told, popular = only_i + only_j + free * none, pull_i + pull_j + free
    i_right = ways * class_mass(only_i, pull_i, told, popular, e)
    j_right = ways * class_mass(only_j, pull_j, told, popular, e)
    reach_differ = i_right + j_right + ways * free * class_mass(none, np.ones(1), told, popular, e)
    members = np.stack([np.stack([agree, i_right], axis=-1), np.stack([agree, j_right], axis=-1)], axis=2)
    held = np.stack([agree, np.maximum(i_right, j_right)], axis=-1)
    return members, held, np.stack([reach_agree, reach_differ], axis=-1)


def _third_gains(
    next_: FirstCandidates,
    pairs: Floats,
    held: tuple[Floats, Floats],
    reach: tuple[Floats, Floats],
    trust: Floats,
) -> Floats:
    """The net gain of a third answer after the first and the second [n, k, k], times the chance of that."""
    n, k = next_.price.shape
    orders, b = _orders(k), next_.beliefs
    seconds = np.stack([b.wrong, b.right], axis=2).reshape(n, 2 * k, -1)
    table = (pairs @ seconds.transpose(0, 2, 1)).reshape(n, -1)  # pair, its bits, third, its bit
    mass = table[:, orders.triple_mass]  # [n, triples, 8]
    pull = np.stack([np.ones_like(b.pull), b.pull], axis=2)
    i, j, last_ = orders.triples.T
    pulls = (pull[:, i, :, None, None] * pull[:, j, None, :, None] * pull[:, last_, None, None, :]).reshape(
        n, -1, 8
    )
    classes = b.classes[:, None]
    free = np.maximum(classes - CLASSES, 0)[:, None]  # [n, 1, 5]
    ways = np.where(CLASSES > 1, classes - 1, 1.0) * np.where(CLASSES > 2, np.maximum(classes - 2, 0), 1.0)
    weight = ways[:, None, :, None] * class_mass(
        mass[:, :, AGREE],
        pulls[:, :, AGREE],
        (mass @ PRESENT.T + free * mass[:, :, :1])[..., None],
        (pulls @ PRESENT.T + free)[..., None],
        b.inverted[:, None, None, None],
    )  # [n, triples, 5, 3]
    best = weight.max(axis=3).reshape(n, -1)
    last = weight.reshape(n, -1) if not next_.comparable.all() else None
    share = (trust[:, None] * (1 - next_.unreadable))[:, None, None, :]
    price = next_.price[:, None, None, :]
    later = np.zeros((n, k, k))
    for places, lasts, stop, come in zip(orders.ways, orders.lasts, held, reach, strict=True):
        after = best[:, np.stack(places)].sum(axis=1)  # [n, k, k, k]
        if last is not None:
            alone = last[:, np.stack(lasts)].sum(axis=1)
            after = np.where(next_.comparable[:, None, None, :], after, np.maximum(stop[..., None], alone))
        gain = share * (after - stop[..., None]) - price * come[..., None]
        gain = np.where(next_.third & orders.different, gain, 0.0)
        later += np.maximum(gain.max(axis=3), 0.0)
    return later


@dataclass(frozen=True)
class _Orders:
    """Where sets of two and three of ``k`` experts stand in the tables, by the order of asking."""

    pair_i: Index  # [pairs]
    pair_j: Index
    pair: Index  # [k, k] place of the set, in both orders
    second_place: Index  # [k, k] which member of the pair is asked second
    triples: Index  # [triples, 3]
    triple_mass: Index  # [triples, 8] in the table of a pair, its bits, a third and its bit
    #: after the second agreed with the first, and after it differed: where what the third may say stands
    ways: tuple[tuple[Index, ...], tuple[Index, ...]]
    lasts: tuple[tuple[Index, ...], tuple[Index, ...]]  # the same, of the third one's own class
    different: Mask  # [k, k, k] three different experts


@lru_cache
def _orders(k: int) -> _Orders:
    pairs = list(combinations(range(k), 2))
    at = {pair: place for place, pair in enumerate(pairs)}
    pair, second = np.zeros((k, k), np.intp), np.zeros((k, k), np.intp)
    for i, j in pairs:
        pair[i, j] = pair[j, i] = at[i, j]
        second[i, j], second[j, i] = 1, 0
    triples = list(combinations(range(k), 3))
    mass = [
        [((at[i, j] * 4 + bits // 2) * k + third) * 2 + bits % 2 for bits in range(8)]
        for i, j, third in triples
    ]
    ways = np.zeros((5, k, k, k), np.intp)
    member = np.zeros((k, k, k), np.intp)
    different = np.zeros((k, k, k), bool)
    for t, triple in enumerate(triples):
        for order in permutations(range(3)):
            spot = tuple(triple[x] for x in order)
            different[spot] = True
            member[spot] = order[2]
            # all agree; the odd one is the third, the second, the first to be asked; none agrees
            odd = [0, *(3 - order[x] for x in (2, 1, 0)), 4]
            for x, pattern in enumerate(odd):
                ways[x][spot] = t * 5 + pattern
    lasts = ways * 3 + member
    return _Orders(
        np.array([i for i, _ in pairs]),
        np.array([j for _, j in pairs]),
        pair,
        second,
        np.array(triples, np.intp).reshape(-1, 3),
        np.array(mass, np.intp).reshape(-1, 8),
        ((ways[0], ways[1]), (ways[2], ways[3], ways[4])),
        ((lasts[0], lasts[1]), (lasts[2], lasts[3], lasts[4])),
        different,
    )
