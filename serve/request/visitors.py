"""Who waits for requests: a visitor may leave at any moment, and the books are closed all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from serve.ledger.messages import Life
from serve.request.background import Background
from serve.request.in_flight import Visit
from serve.wire.api_errors import ApiError

T = TypeVar("T")

_MOST_FINISHING = 64  # answers that nobody waits for, run out for their bill


class Visitors:
    """Runs the work on each request as a task of its own, which outlives its visitor.

    Args:
        background: holds the tasks.
        life: of this process; stopping waits for the books of who has left.
    """

    def __init__(self, background: Background, life: Life) -> None:
        self._background, self._life = background, life
        self._finishing = 0

    async def attend(self, work: Coroutine[Any, Any, T], visit: Visit) -> T:
        """Wait for the work on a request; who leaves ends it, or lets it run out for its bill.

        Raises:
            ApiError: the request is refused, or the endpoint stops.
        """
        task = self._background.start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            here = asyncio.current_task()
            if task.cancelled() and here is not None and not here.cancelling():
                raise ApiError(
                    503, "the endpoint is shutting down", code="shutting_down", retry_after_s=5
                ) from None
            self._leave(task, visit)
            raise

    def _leave(self, task: asyncio.Task[Any], visit: Visit) -> None:
        job = visit.job
        if job is not None:
            job.has_left = True
        task.add_done_callback(self._close_unseen)
        self._life.in_flight += 1  # stopping waits for its books too
        task.add_done_callback(self._left)
        at_work = () if job is None or job.request.stream else job.at_work
        order = () if job is None else job.order
        finishes = any(one.spec.on_leave == "finish" for one in order if one.spec.name in at_work)
        if not finishes or self._finishing >= _MOST_FINISHING:
            task.cancel()
        else:
            self._finishing += 1
            task.add_done_callback(self._finished)

    def _left(self, _task: asyncio.Task[Any]) -> None:
        self._life.in_flight -= 1

    def _finished(self, _task: asyncio.Task[Any]) -> None:
        self._finishing -= 1

    def _close_unseen(self, task: asyncio.Task[Any]) -> None:
        """Close a stream that was opened for a caller who had just left."""
        if task.cancelled() or task.exception() is not None or not isinstance(task.result(), tuple):
            return
        _, pieces = task.result()
        self._background.start(pieces.aclose())
