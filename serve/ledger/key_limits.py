"""The request rate of a key, and the ratio of its bills to their forecasts; kept in memory only."""

from __future__ import annotations

import math

TRUSTED_FORECASTS = 8  # answers' worth
FADING = 0.995  # of an answer's weight with each one after it


class RateLimiter:
    """Token buckets: a key may make its requests of a minute at once, and then one each 60/rate seconds."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}
        self._before: dict[str, tuple[float, float] | None] = {}  # buckets that changed since :meth:`begin`

    def begin(self) -> None:
        """Note what is taken from now on, so that it can be put back."""
        self._before.clear()

    def undo(self) -> None:
        """Put back what was taken since the beginning."""
        for key_id, bucket in self._before.items():
            if bucket is None:
                del self._buckets[key_id]
            else:
                self._buckets[key_id] = bucket
        self._before.clear()

    def wait_s(self, key_id: str, requests_per_minute: int, now: float) -> float:
        """Take one request from the bucket; return 0, or the seconds until there is one to take."""
        known = self._buckets.get(key_id)
        self._before.setdefault(key_id, known)
        tokens, then = known or (float(requests_per_minute), now)
        tokens = min(float(requests_per_minute), tokens + (now - then) * requests_per_minute / 60)
        if tokens < 1:
            self._buckets[key_id] = (tokens, now)
            return (1 - tokens) * 60 / requests_per_minute
        self._buckets[key_id] = (tokens - 1, now)
        return 0.0


class PriceRatios:
    """The ratio of actual to expected cost of each paced key's answers; old answers fade."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}  # paid and expected

    def add(self, key_id: str, paid_usd: float, expected_usd: float) -> None:
        """Note an answer."""
        if not (0 <= paid_usd < math.inf and 0 < expected_usd < math.inf):
            return  # it would spoil all that come after
        # The first few are steadied by forecasts taken for true.
        paid, expected = self._sums.get(key_id, (TRUSTED_FORECASTS * expected_usd,) * 2)
        self._sums[key_id] = (FADING * paid + paid_usd, FADING * expected + expected_usd)

    def ratio(self, key_id: str) -> float:
        """1 before there were any."""
        paid, expected = self._sums.get(key_id, (1.0, 1.0))
        return paid / expected if paid > 0 and expected > 0 else 1.0
