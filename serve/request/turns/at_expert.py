"""An expert is asked once it is the caller's turn, and its place is held until its answer is there.

While a request waits nothing is sent, and nothing can be billed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from experts.upstream import Failure, FailureKind, Usage
from serve.experts.client import OpenStream, Rest, StreamPiece
from serve.request.in_flight import InFlight
from serve.request.turns.places import QueueFullError, Turns

T = TypeVar("T")

_NOTHING = Usage(0, 0)


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
