"""A limited number of requests at once, for which waiting callers take turns: at experts and at the door."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from serve.request.turns.lately import Lately

MOST_WAITING = 256
#: How long a place is kept for a caller who was answered: who asks one thing after the other finds it free.
KEPT_S = 2.0
_A_MOMENT_S = 0.001


class QueueFullError(Exception):
    """As many requests wait as may."""


class Turns:
    """The places, and who waits for one.

    A place goes to the caller who holds the fewest, else to whoever waited longest for a turn: a caller with
    a hundred requests waits for its own, not a caller with one for them. Up to half of the places are kept
    for callers who were answered a moment ago and hold none. Where the queue is full, the caller with the
    most requests in it gives up its last to one who has fewer.

    Args:
        places: requests at once.
        most_waiting: requests beyond them.
        clock: in seconds.
        one_each: where the processor is what all wait for. Beside others, who hold a place, wait for one or
            were answered a moment ago, a caller holds one place, however many are free; and where a caller
            with fewer requests was let in a moment ago, the next one waits until that is answered
            (:class:`Lately`).
    """

    def __init__(
        self,
        places: int,
        most_waiting: int = MOST_WAITING,
        clock: Callable[[], float] = time.monotonic,
        *,
        one_each: bool = False,
    ) -> None:
        self._places, self._most_waiting, self._clock = places, most_waiting, clock
        self._lately = Lately(clock) if one_each else None
        self._free = places
        self._held: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # in whose turn it is
        self._waiting_count = 0
        self._answered: OrderedDict[str, float] = (
            OrderedDict()
        )  # who holds none and waits for none, and since
        self._looks_again: asyncio.TimerHandle | None = None
        self._looks_again_at = math.inf

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting_count

    @property
    def at_once(self) -> int:
        """How many requests have a place."""
        return self._places - self._free

    async def take(self, caller: str) -> None:
        """Wait for a place; :meth:`free` gives it back. Who stops waiting frees its place in the queue.

        Raises:
            QueueFullError: too many wait, and this caller has as many of them as any other.
        """
        if self.take_free(caller):
            return
        if self._waiting_count >= self._most_waiting:
            self._make_room(caller)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        self._waiting_count += 1
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(caller, turn)
            elif turn.exception() is None:  # its turn came as it left
                self.free(caller)
            raise

    def take_free(self, caller: str) -> bool:
        """Take a place if there is one for this caller now: before those who wait only where one was kept."""
        was_kept = self._answered.pop(caller, None) is not None
        if (self._waiting and not was_kept) or self._free <= self._kept() or not self._may_hold(caller):
            return False
        self._hold(caller)
        return True

    def free(self, caller: str) -> None:
        """Give a place back."""
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
            if caller not in self._waiting:
                self._answered[caller] = self._clock()
        self._let_in()

    def finish(self, caller: str) -> None:
        """Note that a request is answered; only where a caller has one place beside others is it minded."""
        if self._lately is not None and self._lately.finish(caller):
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._free > self._kept():
            caller = self._next()
            if caller is None:
                break
            turn = self._waiting[caller].popleft()
            self._waiting_count -= 1
            if self._waiting[caller]:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            if not turn.done():
                self._hold(caller)
                turn.set_result(None)
        if self._waiting and self._free:
            self._look_again_in_time()

    def _next(self) -> str | None:
        """Return whose turn it is among those who wait and may have a place."""
        first = min(self._waiting, key=lambda name: self._held.get(name, 0))
        if self._may_hold(first):
            return first
        able = [name for name in self._waiting if self._may_hold(name)]
        return min(able, key=lambda name: self._held.get(name, 0), default=None)

    def _look_again_in_time(self) -> None:
        """Nobody comes or goes when the time is over for which a place is kept, or others are waited for."""
        ends = [next(iter(self._answered.values())) + KEPT_S] if self._answered else []
        if self._lately is not None and (end := self._lately.ends_at()) is not None:
            ends.append(end)
        if not ends or min(ends) >= self._looks_again_at:
            return
        if self._looks_again is not None:
            self._looks_again.cancel()
        self._looks_again_at = min(ends)
        wait_s = max(self._looks_again_at - self._clock(), 0.0) + _A_MOMENT_S
        self._looks_again = asyncio.get_running_loop().call_later(wait_s, self._look_again)

    def _look_again(self) -> None:
        self._looks_again, self._looks_again_at = None, math.inf
        self._let_in()

    def _may_hold(self, caller: str) -> bool:
        """Tell whether a caller may have a place, or one more."""
        if self._lately is None:
            return True
        if self._lately.has_to_wait(caller, self._count):
            return False
        if caller not in self._held:
            return True
        others = len(self._held) - 1 + len(self._answered)
        return not others and not any(name != caller for name in self._waiting)

    def _count(self, caller: str) -> int:
        """Return how many requests of a caller are here."""
        return self._held.get(caller, 0) + len(self._waiting.get(caller, ()))

    def _hold(self, caller: str) -> None:
        self._free -= 1
        self._held[caller] = self._held.get(caller, 0) + 1
        if self._lately is not None:
            self._lately.let_in(caller)

    def _kept(self) -> int:
        """Return how many places nobody who waits may take."""
        oldest = self._clock() - KEPT_S
        while self._answered and next(iter(self._answered.values())) < oldest:
            self._answered.popitem(last=False)
        return min(len(self._answered), self._places // 2)

    def _make_room(self, caller: str) -> None:
        longest = max(self._waiting, key=lambda name: len(self._waiting[name]))
        if len(self._waiting[longest]) <= len(self._waiting.get(caller, ())) + 1:
            raise QueueFullError
        turn = self._waiting[longest].pop()
        self._waiting_count -= 1
        if not turn.done():
            turn.set_exception(QueueFullError())

    def _forget(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(caller)
        if queue and turn in queue:
            queue.remove(turn)
            self._waiting_count -= 1
            if not queue:
                del self._waiting[caller]
