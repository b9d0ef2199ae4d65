"""How long each expert takes, from what was lately seen of it."""

from __future__ import annotations

MEMORY = 0.2  # weight of the newest answer


class Latencies:
    """A running mean of the seconds that whole answers of each expert take."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def note(self, expert: str, took_s: float) -> None:
        """Note how long an answer took."""
        known = self._seconds.get(expert, took_s)
        self._seconds[expert] = known + MEMORY * (took_s - known)

    def expected_s(self, expert: str) -> float:
        """Return how long the next answer may be expected to take; 0 where nothing is known yet."""
        return self._seconds.get(expert, 0.0)
