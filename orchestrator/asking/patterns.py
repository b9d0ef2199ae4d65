"""The ways in which the next answers can agree with those given and with each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Patterns:
    """What the next one or two answers may say where ``count`` classes of answers were given.

    There are ``c`` patterns, in groups that begin with the same class. Classes are numbered as they come up:
    those given, then the new ones; after ``count + steps`` of them come all others.
    """

    entry: Index  # [c, count + steps] where in a table of moments the class is found; see ``tables``
    rest: int  # the same for a class that nobody gives
    new: Index  # [c] classes that come up
    said: Index  # [c] class that the last answer says
    starts: Index  # of the groups, by what the first of the two answers says


@lru_cache
def patterns(count: int, steps: int) -> Patterns:
    """Return the patterns of ``steps`` (1 or 2) answers after ``count`` classes."""
    words: list[tuple[int, ...]] = [()]
    for _ in range(steps):
        words = [(*word, a) for word in words for a in range(max((count, *(x + 1 for x in word))) + 1)]
    wide = 2**steps
    absent = (count + 1) * wide  # the last place of a table holds 0
    entry = np.full((len(words), count + steps), absent, np.intp)
    for c, word in enumerate(words):
        for a in range(max((count, *(x + 1 for x in word)))):
            said = [int(x == a) for x in word]
            entry[c, a] = min(a, count) * wide + int("".join(map(str, said)), 2)
    new = np.array([max(0, max(word) + 1 - count) for word in words])
    first = np.array([word[0] for word in words])
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    return Patterns(entry, count * wide, new, np.array([word[-1] for word in words]), starts)


def ways(others: NDArray[np.float64], new: Index) -> NDArray[np.float64]:
    """In how many ways [n, c] new classes can be drawn from those that nobody gave: a falling factorial."""
    free = others[:, None]
    one = np.where(new > 0, free, 1.0)
    drawn: NDArray[np.float64] = np.where(new > 1, one * np.maximum(free - 1, 0), one)
    return drawn
