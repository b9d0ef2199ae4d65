"""Turns at an expert: a limited number of requests at once, for which waiting callers take turns.

While a request waits nothing is sent, and nothing can be billed.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Self, TypeVar

from experts.upstream import Failure, FailureKind, Usage
from serve.experts.client import OpenStream, Rest, StreamPiece
from serve.request.in_flight import InFlight

T = TypeVar("T")

MOST_WAITING = 256
#: How long a place is kept for a caller who was answered: who asks one thing after the other finds it free.
KEPT_S = 2.0
_A_MOMENT_S = 0.02
_NOTHING = Usage(0, 0)


class QueueFullError(Exception):
    """As many requests wait as may."""


class Turns:
    """The places at one expert, and who waits for one.

    A place goes to the caller who holds the fewest, else to whoever waited longest for a turn: a caller with
    a hundred requests waits for its own, not a caller with one for them. Up to half of the places are kept
    for callers who were answered a moment ago and hold none. Where the queue is full, the caller with the
    most requests in it gives up its last to one who has fewer.

    Args:
        places: requests at once.
        most_waiting: requests beyond them.
        clock: in seconds.
        one_each: beside others, who hold a place, wait for one or were answered a moment ago, a caller holds
            one place, however many are free.
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
        self._one_each = one_each
        self._free = places
        self._held: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # in whose turn it is
        self._waiting_count = 0
        self._answered: OrderedDict[str, float] = (
            OrderedDict()
        )  # who holds none and waits for none, and since
        self._looks_again: asyncio.TimerHandle | None = None

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

    def _let_in(self) -> None:
        while self._waiting and self._free > self._kept():
            caller = min(self._waiting, key=lambda name: self._held.get(name, 0))
            if not self._may_hold(caller):
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
        if self._waiting and self._free and self._answered and self._looks_again is None:
            # Nobody comes or goes when the time is over for which a place is kept.
            kept_s = next(iter(self._answered.values())) + KEPT_S - self._clock()
            loop = asyncio.get_running_loop()
            self._looks_again = loop.call_later(max(kept_s, 0.0) + _A_MOMENT_S, self._look_again)

    def _look_again(self) -> None:
        self._looks_again = None
        self._let_in()

    def _may_hold(self, caller: str) -> bool:
        """Tell whether a caller may have a place, or one more."""
        if not self._one_each or caller not in self._held:
            return True
        others = len(self._held) - 1 + len(self._answered)
        return not others and not any(name != caller for name in self._waiting)

    def _hold(self, caller: str) -> None:
        self._free -= 1
        self._held[caller] = self._held.get(caller, 0) + 1

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


class Turn:
    """A caller's place while a block runs; who has waited so long for one goes without."""

    def __init__(self, turns: Turns, caller: str, patience_s: float) -> None:
        self._turns, self._caller, self._patience_s = turns, caller, patience_s
        self._has_place = False

    async def __aenter__(self) -> Self:
        """Wait for a place."""
        if self._turns.take_free(self._caller):
            self._has_place = True
            return self
        with suppress(TimeoutError, QueueFullError):
            async with asyncio.timeout(self._patience_s):
                await self._turns.take(self._caller)
            self._has_place = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give it back."""
        if self._has_place:
            self._has_place = False
            self._turns.free(self._caller)


async def ask_in_turn(
    turns: Turns | None,
    job: InFlight,
    name: str,
    ask: Callable[[float], Awaitable[T | Failure]],
    timeout_s: float,
) -> T | Failure:
    """Ask an expert once it is this caller's turn. The wait is part of the time; a stream keeps its place.

    Args:
        turns: at this expert; None where there is no need to wait here.
        job: the request; nobody counts as asked while it waits.
        name: of the expert.
        ask: asks it, within so many seconds.
        timeout_s: for both.
    """
    job.asked_at = began = time.monotonic()
    if turns is None:
        return await ask(timeout_s)
    caller = job.caller.key_id or ""
    job.at_work.discard(name)
    try:
        async with asyncio.timeout(timeout_s):
            await turns.take(caller)
    except QueueFullError:
        return Failure(FailureKind.BUSY, "it has too many requests waiting", in_time_of_caller=True)
    except TimeoutError:
        message = f"its turn did not come within {timeout_s:.3g} s"
        return Failure(FailureKind.TIMEOUT, message, usage=_NOTHING, in_time_of_caller=True)
    job.at_work.add(name)
    job.asked_at = time.monotonic()
    place = _Place(turns, caller)
    try:
        value = await ask(max(0.001, timeout_s - (time.monotonic() - began)))
    except BaseException:
        place.free()
        raise
    if isinstance(value, OpenStream):
        return replace(value, rest=_HeldRest(value.rest, place))
    place.free()
    return value


class _Place:
    """A place at an expert, given back once."""

    def __init__(self, turns: Turns, caller: str) -> None:
        self._turns, self._caller = turns, caller
        self._is_held = True

    def free(self) -> None:
        if self._is_held:
            self._is_held = False
            self._turns.free(self._caller)


class _HeldRest:
    """What is still to come of a stream that holds a place until it ends."""

    def __init__(self, rest: Rest, place: _Place) -> None:
        self._rest, self._place = rest, place

    async def __anext__(self) -> StreamPiece | Failure:
        try:
            piece = await anext(self._rest)
        except BaseException:
            self._place.free()
            raise
        if isinstance(piece, Failure):
            self._place.free()
        return piece

    async def aclose(self) -> None:
        try:
            await self._rest.aclose()
        finally:
            self._place.free()
