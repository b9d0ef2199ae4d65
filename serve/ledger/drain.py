"""An orderly stop: no request is admitted any more, and those under way are counted until they end."""

from __future__ import annotations

import math
import time

from serve.ledger.messages import Drained, Heartbeat, Pulse

GONE_AFTER_S = 5.0  # a process that says nothing for so long is not waited for


class Drain:
    """Whether the endpoint is stopping, and which requests every ingress still works on."""

    def __init__(self) -> None:
        self._ends = math.inf  # on the clock of time.monotonic
        self._last: dict[str, tuple[float, int]] = {}  # by process: when it was heard, and its requests
        self._told: dict[str, int] = {}  # how often it was heard since stopping began

    @property
    def has_begun(self) -> bool:
        """Whether new requests are refused."""
        return self._ends < math.inf

    def begin(self, within_s: float, now: float) -> Drained:
        """Stop letting requests in, if that is not so already; return what is still under way.

        A process counts until it was heard twice since: what it counted then came before it knew.
        """
        if not self.has_begun:
            self._ends = now + within_s
        living = {owner: n for owner, (heard, n) in self._last.items() if now - heard < GONE_AFTER_S}
        waiting = sum(max(n, 0 if self._told.get(owner, 0) > 1 else 1) for owner, n in living.items())
        return Drained(waiting, tuple(self._last))

    def count_under_way(self) -> int:
        """Return the requests that living processes work on, as each last told."""
        now = time.monotonic()
        return sum(n for heard, n in self._last.values() if now - heard < GONE_AFTER_S)

    def pulse(self, beat: Heartbeat, now: float) -> Pulse:
        """Note what a process works on; return what it is to know."""
        self._last[beat.owner] = (now, beat.in_flight)
        if not self.has_begun:
            return Pulse()
        self._told[beat.owner] = self._told.get(beat.owner, 0) + 1
        return Pulse(is_draining=True, ends_in_s=max(0.0, self._ends - now))
