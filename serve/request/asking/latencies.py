"""The recent latencies of each expert, and which experts would be in time."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np

MEMORY = 0.2  # weight of the newest answer
RECENT = 200  # answers of which a percentile is taken
LEAST_RECENT = 20  # fewer say nothing of the slow ones
HEADROOM = 1.5  # times its mean that an answer is given, for it to come in time


class Latencies:
    """A running mean of the seconds that whole answers of each expert take, and the latest where wanted."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._recent: dict[tuple[str, bool], deque[float]] = {}

    def note(self, expert: str, took_s: float) -> None:
        """Note how long an answer took."""
        known = self._seconds.get(expert, took_s)
        self._seconds[expert] = known + MEMORY * (took_s - known)

    def note_recent(self, expert: str, took_s: float, *, is_stream: bool) -> None:
        """Note how long an answer, or the first token of a stream, took; or that it had not come by then.

        Without those that were broken off, the percentile of hedged requests would fall and fall.
        """
        self._recent.setdefault((expert, is_stream), deque(maxlen=RECENT)).append(took_s)

    def percentile_s(self, expert: str, percentile: float, is_stream: bool) -> float | None:
        """Return a percentile of the latest answers, or first tokens; None where too few are known."""
        recent = self._recent.get((expert, is_stream), ())
        return float(np.percentile(recent, percentile)) if len(recent) >= LEAST_RECENT else None

    def expected_s(self, expert: str) -> float:
        """Return the expected time of the next answer; 0 if nothing is known yet."""
        return self._seconds.get(expert, 0.0)


@dataclass(frozen=True)
class TimeLeft:
    """The time that an answer has; moments are on the clock of ``time.monotonic``."""

    began: float
    until: float
    latencies: Latencies

    def is_enough_for(self, *experts: str) -> bool:
        """Tell whether experts that are asked now, one after the other, are expected to be done in time."""
        return time.monotonic() + sum(map(self.latencies.expected_s, experts)) <= self.until

    def usual_wait_s(self, expert: str, asked_at: float) -> float:
        """Return how long an expert that was asked then may still take; 0 where nothing is known of it."""
        return max(0.0, asked_at + HEADROOM * self.latencies.expected_s(expert) - time.monotonic())

    def last_moment_s(self, expert: str) -> float:
        """Return in how many seconds an expert has to be asked, to answer in time: half-way where nothing is
        known of it.
        """
        needed_s = HEADROOM * self.latencies.expected_s(expert) or (self.until - self.began) / 2
        return max(0.0, self.until - needed_s - time.monotonic())
