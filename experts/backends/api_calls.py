"""Manners towards an API: rate limits that are kept, and how long is waited before a call is tried again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
#: A server that asks for a longer wait than this is not waited for: the question fails instead.
LONGEST_RETRY_AFTER_S = 300.0


class RateLimit:
    """Requests and tokens per minute, counted over a sliding window, so that no minute ever exceeds them.

    For use within one event loop. A request that alone exceeds the token limit waits for an empty window.
    """

    def __init__(
        self,
        requests_per_min: int | None = None,
        tokens_per_min: int | None = None,
        *,
        window_s: float = 60.0,
    ) -> None:
        self._most_requests, self._most_tokens, self._window_s = requests_per_min, tokens_per_min, window_s
        self._sent: deque[tuple[float, int]] = deque()
        self._tokens = 0
        self._not_before = 0.0
        self._turn = asyncio.Lock()  # first come, first served

    async def take(self, tokens: int) -> None:
        """Wait until a request of so many tokens may be sent, and count it."""
        async with self._turn:
            while (wait_s := self._wait_s(tokens)) > 0:
                await asyncio.sleep(wait_s)
            self._sent.append((time.monotonic(), tokens))
            self._tokens += tokens

    def hold_back(self, seconds: float) -> None:
        """Send nothing for so long: the API said that it has had enough."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _wait_s(self, tokens: int) -> float:
        now = time.monotonic()
        while self._sent and self._sent[0][0] <= now - self._window_s:
            self._tokens -= self._sent.popleft()[1]
        wait_s = self._not_before - now
        full = self._most_requests is not None and len(self._sent) >= self._most_requests
        heavy = self._most_tokens is not None and self._tokens + tokens > self._most_tokens
        if self._sent and (full or heavy):
            wait_s = max(wait_s, self._sent[0][0] + self._window_s - now)
        return wait_s


def retry_wait_s(asked_s: float | None, attempt: int) -> float:
    """Seconds to wait before the next attempt; ``attempt`` counts from 0.

    What the API asks for (with a little added at random, so that not all come back at once), else
    exponential backoff with full jitter: uniform between 0 and 0.5 s * 2^attempt, 30 s at most.
    """
    if asked_s is not None:
        return asked_s * random.uniform(1.0, 1.1)
    return random.uniform(0.0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))
