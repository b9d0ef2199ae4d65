"""Readings of answers: a comparable form, nothing readable, or something that cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOT_ASKED, INCOMPARABLE, UNREADABLE = -3, -2, -1  # in the place of a class of answers
COMPARABLE_SHARE = 0.5  # an expert of whose answers fewer can be compared is never compared


@dataclass(frozen=True)
class Reading:
    """One answer as it was read.

    ``key`` is equal for answers that say the same: an option's letter, a number, a short text. None: there is
    an answer that cannot be compared (a long text, code), or, where ``readable`` is False, nothing of use.
    """

    key: str | None = None
    readable: bool = True
    tokens: int | None = None  # how long the answer is, where that is known


@dataclass(frozen=True)
class Readings:
    """The answers of ``m`` experts to ``n`` questions, and which of them agree."""

    classes: NDArray[np.int16]  # [n, m] equal within a row where answers say the same; else a code below 0
    options: NDArray[np.intp]  # [n] how many answers a question offers; 0: any
    tokens: NDArray[np.float32] | None = None  # [n, m] how long each answer is; NaN, or None: not known

    @classmethod
    def from_keys(
        cls,
        keys: NDArray[np.object_],
        answered: NDArray[np.bool_],
        chance: NDArray[np.floating],
        tokens: NDArray[np.float32] | None = None,
    ) -> Readings:
        """Compare keys row by row.

        Args:
            keys: [n, m] a comparable form of each answer; None, NaN or empty where there is none.
            answered: [n, m] where an expert was asked and answered. Without a key its answer is unreadable;
                if nobody's answer to the question has one, or few of the expert's, it cannot be compared.
            chance: [n] of a guess being right: 1 over the number of options, 0 where there are none.
            tokens: [n, m] how long each answer is, where that is known.
        """
        known = np.array([[bool(key) and key == key for key in row] for row in keys], bool) & answered
        keyless = ~known.any(axis=1)
        comparable = known.sum(axis=0) > COMPARABLE_SHARE * np.maximum(answered[~keyless].sum(axis=0), 1)
        classes = np.full(keys.shape, NOT_ASKED, np.int16)
        classes[answered] = UNREADABLE
        classes[:, ~comparable] = np.where(answered[:, ~comparable], INCOMPARABLE, NOT_ASKED)
        classes[keyless] = np.where(answered[keyless], INCOMPARABLE, NOT_ASKED)
        for row, own in enumerate(known & comparable):
            names: dict[object, int] = {}
            for column in np.flatnonzero(own):
                classes[row, column] = names.setdefault(keys[row, column], len(names))
        options = np.round(1 / np.where(chance > 0, chance, np.inf)).astype(np.intp)
        return cls(classes, options, tokens)

    @classmethod
    def incomparable(cls, answered: NDArray[np.bool_], tokens: NDArray[np.float32] | None = None) -> Readings:
        """Return readings of answers that cannot be compared at all."""
        classes = np.where(answered, INCOMPARABLE, NOT_ASKED).astype(np.int16)
        return cls(classes, np.zeros(len(answered), np.intp), tokens)

    def take(self, rows: NDArray[np.intp]) -> Readings:
        """Return the readings of some questions."""
        tokens = None if self.tokens is None else self.tokens[rows]
        return Readings(self.classes[rows], self.options[rows], tokens)

    def columns(self, experts: NDArray[np.intp]) -> Readings:
        """Return the readings of some experts."""
        tokens = None if self.tokens is None else self.tokens[:, experts]
        return Readings(self.classes[:, experts], self.options, tokens)
