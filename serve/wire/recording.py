"""The recording modes of requests, and which setting prevails."""

from __future__ import annotations

from typing import Literal

#: none: nothing but its cost. features: who was forecast what, who answered, what it took, the query as
#: numbers. texts: its words and the answer's too.
Recording = Literal["none", "features", "texts"]
RECORDINGS: tuple[Recording, ...] = ("none", "features", "texts")  # the strictest first


def strictest(*wanted: Recording | None) -> Recording:
    """Return the strictest of what is wanted; None has no wish.

    >>> strictest("texts", None, "features")
    'features'
    """
    return min((one for one in wanted if one is not None), key=RECORDINGS.index, default="none")
