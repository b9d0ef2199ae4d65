"""Money in whole picodollars (1e-12 USD), so that sums are exact."""

from __future__ import annotations

import math
from typing import Any

from serve.ledger.messages import MOST_USD

PICO_PER_USD = 10**12
MOST_PICO = 9 * 10**18  # a sum that only grows stops here: SQLite's whole numbers have 64 bits


def to_pico(usd: Any) -> int | None:
    """Return an amount of one call in picodollars, cut to what one call can cost; None where it is no number.

    >>> to_pico(0.25), to_pico(-1.0), to_pico(float("nan")), to_pico("1")
    (250000000000, 0, None, None)
    """
    if isinstance(usd, bool) or not isinstance(usd, (int, float)) or usd != usd:
        return None
    return round(float(min(max(usd, 0.0), MOST_USD)) * PICO_PER_USD)


def bound_pico(usd: Any) -> int:
    """Return a bound in picodollars, rounded up; one that is no number bounds nothing: it is the most."""
    if isinstance(usd, bool) or not isinstance(usd, (int, float)) or usd != usd:
        return round(MOST_USD * PICO_PER_USD)
    return math.ceil(float(min(max(usd, 0.0), MOST_USD)) * PICO_PER_USD)


def is_bounded(usd: Any) -> bool:
    """Tell whether an amount is one that a call can be held to."""
    return not isinstance(usd, bool) and isinstance(usd, (int, float)) and usd <= MOST_USD
