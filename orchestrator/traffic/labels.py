"""Noisy labels of answers to served requests; each concerns a single expert's answer to a single request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.queries import Queries

MOST_WEIGHT = 2.0  # of a label, whatever its propensity: beyond it variance costs more than bias

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Audit:
    """A labeller's labels of answers whose true score is known."""

    bad: float  # how many were bad
    praise_of_bad: float  # sum of its labels of these, each in [0, 1]
    good: float
    praise_of_good: float


@dataclass(frozen=True)
class TrafficLabels:
    """``c`` labels on ``n`` requests. This is bandit feedback: unlabelled answers are missing.

    ``propensity`` is the probability that the router would ask that expert first when it answered the
    request. It is 1 for a label that was bought (a shadow answer), whose choice did not depend on any
    answer.
    """

    queries: Queries  # [n] the requests
    served_at: Floats  # [n] position in the traffic: requests served before
    experts: tuple[str, ...]  # [m]
    row: NDArray[np.intp]  # [c] of the requests
    expert: NDArray[np.intp]  # [c] column: whose answer
    label: Floats  # [c] in [0, 1]
    labeller: NDArray[np.intp]  # [c] who says so: position in ``labellers``
    labellers: tuple[str, ...]  # such as "feedback:api", "judge:..."; "gold" is always right
    propensity: Floats  # [c] in (0, 1]
    audits: Mapping[str, Audit] = field(default_factory=dict)  # of labellers, where there were any

    def __len__(self) -> int:
        return len(self.label)

    def only(self, cells: NDArray[np.bool_]) -> TrafficLabels:
        """Return some of the labels; the requests stay."""
        parts = {
            name: getattr(self, name)[cells] for name in ("row", "expert", "label", "labeller", "propensity")
        }
        return TrafficLabels(
            queries=self.queries,
            served_at=self.served_at,
            experts=self.experts,
            labellers=self.labellers,
            audits=self.audits,
            **parts,
        )

    def fingerprint(self) -> str:
        """Return a hash (16 hex digits) of the labels and their experts: it identifies the training data."""
        digest = hashlib.sha256("\n".join([*self.experts, *self.labellers]).encode())
        for cells in (
            self.queries.embeddings,
            self.served_at,
            self.row,
            self.expert,
            self.label,
            self.labeller,
        ):
            digest.update(np.ascontiguousarray(cells).tobytes())
        return digest.hexdigest()[:16]

    def age(self) -> Floats:
        """Return the number of requests after that of each label [c], up to the last one here."""
        newest = float(self.served_at.max(initial=0.0))
        age: Floats = newest - self.served_at[self.row]
        return age


def inverse_propensity(propensity: Floats, most: float = MOST_WEIGHT) -> Floats:
    """Return weights [c] by clipped inverse propensity; their sum is the effective number of labels.

    The effective number is sum^2 / sum of squares (Kish 1965): the more unequal the weights, the lower it is.
    """
    if not len(propensity):
        return np.ones(0)
    weights = np.minimum(1 / propensity, most)
    scaled: Floats = weights * weights.sum() / (weights**2).sum()
    return scaled
