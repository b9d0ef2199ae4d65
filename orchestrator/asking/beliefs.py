"""The probability that an answer is right, given the other answers to the same query.

A latent variable model of answers to one question, after item response theory (Rasch 1960) and the joining
of labels (Dawid and Skene 1979). The question's ease ``z`` is standard normal. An expert is right with
probability sigmoid(a + slope z). Where it is wrong, a share ``popular`` of its answers falls on one wrong
answer that attracts everybody, the rest anywhere. Some questions are upside down: there the experts that
should know give the popular wrong answer. Their share is ``inverted`` of what the best forecast leaves open.

The intercept ``a`` is solved so that one answer alone is right with exactly the probability that the router
forecasts: with one expert asked, this is the router.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NODES = 9  # of the quadrature over ease
OPEN_CLASSES = 50  # different answers that a question without options is taken to have
NEWTON_STEPS = 4
NEVER = 1e-12  # nobody is surer than this to be right or wrong at any ease, or odds are without end
GREATEST_PULL = 1e8  # from which on rounding takes more than the eighth digit of what differences weigh
SURE = 1e-3  # forecasts stay this far from 0 and 1

Floats = NDArray[np.float64]

_nodes, _weights = np.polynomial.hermite_e.hermegauss(NODES)
EASE: Floats = _nodes
WEIGHT: Floats = _weights / _weights.sum()


@dataclass(frozen=True)
class AnswerModel:
    """How the answers of ``m`` experts depend on each other."""

    slopes: Floats  # [m] or [n, m] how much an expert's success follows the ease of the question, above 0
    popular: Floats  # the same shape, in (0, 1): share of wrong answers that fall on the popular wrong one
    inverted: float  # in [0, 1): share of questions upside down, over 1 - the best expert's success

    def beliefs(self, success: Floats, options: NDArray[np.integer]) -> Beliefs:
        """Return the prior beliefs about each expert's answer, before it is seen.

        Args:
            success: [n, m] forecast that an answer is right, given that it can be read.
            options: [n] number of answers a question offers; 0: any.
        """
        classes = np.where(options > 0, np.maximum(options, 3), OPEN_CLASSES).astype(float)
        forecast = np.clip(success, SURE, 1 - SURE)
        inverted = (self.inverted * (1 - forecast.max(axis=1)))[:, None]
        # who is mostly wrong is not right by inversion alone
        popular = np.minimum(self.popular, 0.5 * forecast / np.maximum(inverted, SURE**2))
        upright = (forecast - inverted * popular) / (1 - inverted - inverted * popular)
        right = self._right(np.clip(upright, SURE**2, 1 - SURE**2))
        elsewhere = (1 - popular) / (classes[:, None] - 2)
        return Beliefs(
            right, (1 - right) * elsewhere[:, :, None], popular / elsewhere, inverted[:, 0], classes
        )

    def _right(self, marginal: Floats) -> Floats:
        """Success at each node of ease [n, m, nodes] whose mean over the nodes is ``marginal`` [n, m]."""
        target = np.log(marginal / (1 - marginal))
        intercept = target * np.sqrt(1 + np.pi / 8 * self.slopes**2)
        shift = self.slopes[..., None] * EASE
        for _ in range(NEWTON_STEPS):
            right = 1 / (1 + np.exp(-(intercept[:, :, None] + shift)))
            mean = right @ WEIGHT
            slope = (right * (1 - right)) @ WEIGHT / (mean * (1 - mean))
            intercept = intercept - (np.log(mean / (1 - mean)) - target) / slope
        success: Floats = np.clip(1 / (1 + np.exp(-(intercept[:, :, None] + shift))), NEVER, 1 - NEVER)
        return success


@dataclass(frozen=True)
class Beliefs:
    """Prior probabilities of the answers of ``m`` experts to ``n`` queries, at each node of ease."""

    right: Floats  # [n, m, nodes] the answer is the right one
    wrong: Floats  # [n, m, nodes] it is one certain answer, neither the right nor the popular wrong one
    pull: Floats  # [n, m] how much likelier the popular wrong answer is than another wrong one
    inverted: Floats  # [n]
    classes: Floats  # [n] different answers there are

    def take(self, rows: NDArray[np.integer]) -> Beliefs:
        """Return those of some queries."""
        return Beliefs(*(x[rows] for x in (self.right, self.wrong, self.pull, self.inverted, self.classes)))

    def columns(self, experts: NDArray[np.integer]) -> Beliefs:
        """Return those of some experts [n, k], other ones for each query."""
        wide = experts[:, :, None]
        return Beliefs(
            np.take_along_axis(self.right, wide, axis=1),
            np.take_along_axis(self.wrong, wide, axis=1),
            np.take_along_axis(self.pull, experts, axis=1),
            self.inverted,
            self.classes,
        )


@dataclass(frozen=True)
class Evidence:
    """Evidence from the answers to ``n`` queries: ``k`` classes of given answers, then any other answer."""

    moments: Floats  # [n, k + 1, nodes] likelihood of the answers if the right one is this
    pull: Floats  # [n, k + 1] how much likelier they are if this is the popular wrong one
    others: Floats  # [n] how many answers nobody gave
    inverted: Floats  # [n]

    @classmethod
    def of(
        cls,
        beliefs: Beliefs,
        given: NDArray[np.integer],
        count: int,
        told: Floats | None = None,
    ) -> Evidence:
        """Weigh the answers given.

        Args:
            beliefs: of the queries.
            given: [n, m] class of each expert's answer, below 0 where there is none to compare.
            count: of classes given, the same for all queries.
            told: [n, m] by how much the length of an answer that cannot be compared multiplies the odds that
                it is right; 1 otherwise, which is the default.
        """
        wrong = np.where((given >= 0)[:, :, None], beliefs.wrong, 1.0)
        before: Floats = WEIGHT
        if told is not None:
            before = before * (1 + beliefs.right * (told - 1)[:, :, None]).prod(axis=1)
        moments, pull = [], []
        for k in range(count):
            own = given == k
            moments.append(before * np.where(own[:, :, None], beliefs.right, wrong).prod(axis=1))
            pull.append(np.where(own, beliefs.pull, 1.0).prod(axis=1))
        return cls(
            np.stack([*moments, before * wrong.prod(axis=1)], axis=1),
            np.stack([*pull, np.ones(len(given))], axis=1),
            np.maximum(beliefs.classes - count, 0),
            beliefs.inverted,
        )

    def posterior(self) -> Floats:
        """Return the probability [n, k + 1] that each answer given is right; last, that none of them is."""
        mass = self.moments.sum(axis=2)
        masses = self._count * class_mass_beside(
            mass, self.pull, self._of_others(mass), self._of_others(self.pull), self.inverted[:, None]
        )
        probability: Floats = masses / masses.sum(axis=1, keepdims=True)
        return probability

    def success_of(self, beliefs: Beliefs) -> Floats:
        """Return the probability [n, m] that an answer of each expert would be right, given these answers.

        It is the forecast as the answers of others have changed it; for experts whose own answer is not among
        them.
        """
        own = self._count
        mass = self.moments.sum(axis=2)
        rest = self._of_others(self.pull)
        # upright: the expert says the right answer; inverted: it says the popular one, which is the right one
        key = np.einsum("na,naz,nmz->nm", own * rest, self.moments, beliefs.right)
        total = (own * mass * rest).sum(axis=1, keepdims=True)
        swapped = own * self.pull
        draw = beliefs.wrong * beliefs.pull[:, :, None]
        inverse = np.einsum("na,nmz,naz->nm", swapped, draw, self._of_others(self.moments))
        inverse_total = (swapped * self._of_others(mass)).sum(axis=1, keepdims=True)
        e = self.inverted[:, None]
        success: Floats = ((1 - e) * key + e * inverse) / ((1 - e) * total + e * inverse_total)
        return success

    @property
    def _count(self) -> Floats:
        """How many answers each class [n, k + 1] stands for: one, and all that nobody gave."""
        count: Floats = np.column_stack([np.ones((len(self.others), self.moments.shape[1] - 1)), self.others])
        return count

    def _of_others(self, values: Floats) -> Floats:
        """Return the sum [n, k + 1, ...] of a value over all answers but one of each class."""
        shape = (*self.moments.shape[:2],) + (1,) * (values.ndim - 2)
        count = self._count.reshape(shape)
        others: Floats = sum_of_others(count * values, axis=1) + np.maximum(count - 1, 0) * values
        return others


def sum_of_others(values: Floats, axis: int) -> Floats:
    """Return for each place the sum of all other places along an axis.

    Not as the sum of all less its own: beside many answers that agree, what the few others weigh would be
    lost in rounding.
    """
    rising = np.moveaxis(values, axis, 0)
    others = np.zeros_like(rising)
    np.cumsum(rising[:-1], axis=0, out=others[1:])
    others[:-1] += np.cumsum(rising[:0:-1], axis=0)[::-1]
    return np.moveaxis(others, 0, axis)


def class_mass_beside(
    mass: Floats, pull: Floats, other_mass: Floats, other_pull: Floats, inverted: Floats
) -> Floats:
    """Return how likely the answers are together with a class being the right one, up to a common factor.

    Args:
        mass: likelihood if it is right, whatever is popular.
        pull: how much likelier if it is the popular wrong one.
        other_mass: sum of ``mass`` over all other answers.
        other_pull: sum of ``pull`` over all other answers.
        inverted: share of inverted questions.
    """
    value: Floats = (1 - inverted) * other_pull * mass + inverted * other_mass * pull
    return value


def class_mass(mass: Floats, pull: Floats, told: Floats, popular: Floats, inverted: Floats) -> Floats:
    """Return what :func:`class_mass_beside` does, faster, where no pull is greater than ``GREATEST_PULL``.

    Args:
        mass: likelihood if it is right, whatever is popular.
        pull: how much likelier if it is the popular wrong one.
        told: sum of ``mass`` over all answers.
        popular: sum of ``pull`` over all answers.
        inverted: share of inverted questions.
    """
    # (1 - inverted) mass (popular - pull) + inverted pull (told - mass), in place: the largest arrays of all
    value: Floats = (1 - inverted) * popular - pull
    value *= mass
    value += (inverted * told) * pull
    return value
