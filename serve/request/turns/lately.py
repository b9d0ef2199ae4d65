"""Requests let in a moment ago: what they still take of the processor is waited for by callers with more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

#: How long a request that was let in counts: an API that answers at once has answered by then, and for one
#: that takes its time no more is to be done here soon. It is also the longest that a caller waits for others.
LATELY_S = 0.008


@dataclass
class _Request:
    caller: str
    at_s: float
    is_answered: bool = False


class Lately:
    """The requests of the last moment, by when they were let in.

    A request passes through the event loop a dozen times, and each time waits for what others do there. So
    that one of a caller with few does not meet a crowd's each time, the crowd's next one waits until it is
    answered, ``LATELY_S`` after its own last one at most: a crowd is slower beside others, and never stopped.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._requests: deque[_Request] = deque()

    def let_in(self, caller: str) -> None:
        """Note a request."""
        self._requests.append(_Request(caller, self._clock()))

    def finish(self, caller: str) -> bool:
        """Note that the oldest of a caller's is answered; tell whether there was one."""
        self._forget()
        for request in self._requests:
            if request.caller == caller and not request.is_answered:
                request.is_answered = True
                return True
        return False

    def has_to_wait(self, caller: str, count: Callable[[str], int]) -> bool:
        """Tell whether a caller who was let in a moment ago waits for one who has fewer by ``count``."""
        self._forget()
        if not any(request.caller == caller for request in self._requests):
            return False
        own = count(caller)
        return any(
            not request.is_answered and request.caller != caller and count(request.caller) < own
            for request in self._requests
        )

    def ends_at(self) -> float | None:
        """Return when the oldest of them counts no more, in seconds of the clock; None if there is none."""
        self._forget()
        return self._requests[0].at_s + LATELY_S if self._requests else None

    def _forget(self) -> None:
        oldest = self._clock() - LATELY_S
        while self._requests and self._requests[0].at_s < oldest:
            self._requests.popleft()
