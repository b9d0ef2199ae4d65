"""Circuit breaker: an expert that keeps failing is left alone for a while, then tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

FAILURES_TO_REST = 3
FIRST_REST_S = 5.0
LONGEST_REST_S = 120.0


@dataclass
class _Record:
    failures: int = 0
    rests_until: float = 0.0


@dataclass
class Breaker:
    """Counts failures in a row. From the third on an expert rests, each time twice as long.

    When its rest is over the next request tries it: one success clears it, one failure sends it back.
    """

    clock: Callable[[], float] = time.monotonic
    _records: dict[str, _Record] = field(default_factory=dict)

    def record(self, expert: str, *, healthy: bool) -> None:
        """Note how a request to an expert went."""
        if healthy:
            self._records.pop(expert, None)
            return
        record = self._records.setdefault(expert, _Record())
        if self.clock() < record.rests_until:
            return  # requests that were under way when the rest began say nothing new
        record.failures += 1
        if record.failures >= FAILURES_TO_REST:
            rest_s = FIRST_REST_S * 2 ** (record.failures - FAILURES_TO_REST)
            record.rests_until = self.clock() + min(rest_s, LONGEST_REST_S)

    def resting(self, experts: Iterable[str]) -> tuple[str, ...]:
        """Return those of the experts that should be left alone now."""
        now = self.clock()
        return tuple(name for name in experts if self._records.get(name, _Record()).rests_until > now)
