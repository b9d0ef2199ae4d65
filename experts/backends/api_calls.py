"""Manners towards an API: rate limits that are kept, waits that it asks for, and what may be tried again."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from email.utils import parsedate_to_datetime
from typing import Any

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
#: A server that asks for a longer wait than this is not waited for: the question fails instead.
LONGEST_RETRY_AFTER_S = 300.0
_NEVER_SENT = frozenset(("ConnectError", "ConnectTimeout", "PoolTimeout"))
_RETRIED_STATUS = frozenset((408, 409, 425, 429))


class MalformedReplyError(Exception):
    """The API said 200, and what came is not an answer."""


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


def is_passing(error: Exception) -> bool:
    """Tell whether trying again may help: overload, a broken connection, a garbled reply."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code in _RETRIED_STATUS or error.status_code >= 500
    return isinstance(
        error, openai.APIConnectionError | MalformedReplyError
    )  # a timeout is a connection error


def may_be_billed(error: Exception) -> bool:
    """Tell whether the API may have done the work, although no answer arrived."""
    import openai

    # By name, since the client's releases stand on different HTTP libraries.
    return not (isinstance(error, openai.APIStatusError) or type(error.__cause__).__name__ in _NEVER_SENT)


def is_garbled(error: Exception) -> bool:
    """Tell whether the client failed at reading a reply."""
    import openai

    return isinstance(error, json.JSONDecodeError | UnicodeDecodeError | openai.APIResponseValidationError)


def retry_wait_s(error: Exception, attempt: int) -> float:
    """Seconds to wait before the next attempt; ``attempt`` counts from 0.

    What ``Retry-After`` says (with a little added at random, so that not all come back at once), else
    exponential backoff with full jitter: uniform between 0 and 0.5 s * 2^attempt, 30 s at most.
    """
    asked_s = _retry_after_s(getattr(getattr(error, "response", None), "headers", None) or {})
    if asked_s is not None:
        return asked_s * random.uniform(1.0, 1.1)
    return random.uniform(0.0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))


def _retry_after_s(headers: Any) -> float | None:
    """Read ``Retry-After``, in seconds or as a date, or its cousin in milliseconds."""
    try:
        if (text := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(text) / 1e3)
        if (text := headers.get("retry-after")) is None:
            return None
        try:
            return max(0.0, float(text))
        except ValueError:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
