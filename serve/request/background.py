"""Work that continues after its caller has left: a reference is kept, and a stop waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from serve.wire.api_errors import ApiError

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

_ENDING_S = 5.0  # for what is cancelled to keep its books


class Background:
    """Tasks of our own. The event loop alone holds tasks so weakly that they may vanish half done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._bookings: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], *, is_booking: bool = False) -> asyncio.Task[T]:
        """Start a piece of work; one that keeps books is not cut off while there is any time."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        if is_booking:
            self._bookings.add(task)
        task.add_done_callback(self._forget)
        return task

    async def drain(self, timeout_s: float) -> int:
        """Wait for all that is under way; cancel what is not done in time, and return how much that was."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout_s
        while (under_way := self._under_way()) and (left_s := ends - loop.time()) > 0:
            await asyncio.wait(under_way, timeout=left_s)
        late = self._under_way() - self._bookings
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_ENDING_S)
        if booking := self._under_way():  # also what the cancelled ones had still to settle
            await asyncio.wait(booking, timeout=_ENDING_S)
        return len(late)

    def count(self) -> int:
        """Return how many pieces of work are under way."""
        return len(self._under_way())

    def _under_way(self) -> set[asyncio.Task[Any]]:
        here = asyncio.current_task()
        return {task for task in self._tasks if not task.done() and task is not here}

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._bookings.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, ApiError):
            logger.error("work on a request failed", exc_info=error)
