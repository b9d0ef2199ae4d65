"""Find owners of calls that have died: processes whose heartbeats have stopped.

Every owner shows life in the ledger, by a number that grows. Whoever keeps the books sees it grow, or not, by
its own steady clock: no clock of the wall is asked, so one that is set back ends nobody, and a bookkeeper
that has just started gives all owners as long as any other.
"""

from __future__ import annotations

from collections.abc import Mapping

BEAT_EVERY_S = 1.0  # how often a process tells that it lives
WRITTEN_EVERY_S = 3.0  # how often that is written down
DEAD_AFTER_S = 12.0  # without a beat
LOOK_EVERY_S = 2.0
FORGET_AFTER_S = 600.0  # an owner without calls that was not seen


class OwnerWatch:
    """Remembers when each owner was last seen to live."""

    def __init__(self, dead_after_s: float = DEAD_AFTER_S) -> None:
        self._dead_after_s = dead_after_s
        self._seen: dict[str, tuple[int, float]] = {}  # beats, and when they were first seen so many
        self._looked: float | None = None

    def find_dead(self, beats: Mapping[str, int], now: float) -> list[str]:
        """Return the owners whose beats have stood still for too long.

        Args:
            beats: of every owner that has calls or was ever seen.
            now: on a clock that is never set.
        """
        if self._looked is not None and now - self._looked > self._dead_after_s / 2:
            self._seen.clear()  # it was we who stood still
        self._looked = now
        for owner, count in beats.items():
            known = self._seen.get(owner)
            if known is None or known[0] != count:
                self._seen[owner] = (count, now)
        self._seen = {owner: seen for owner, seen in self._seen.items() if owner in beats}
        return [owner for owner, (_, since) in self._seen.items() if now - since > self._dead_after_s]
