"""Group calls that wait for the same deployment: under load many requests share one hop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Sends one group of items at a time; items that arrive meanwhile form the next group.

    A lone item is sent at once; there is no time window. An item that nobody waits for may be patient: it
    goes before the next one that is not, or when its time is up. Items fail alone: if the call of a group
    raises, each of its items is sent again separately, so sending twice must be harmless.
    """

    def __init__(
        self,
        send: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int,
        shared: tuple[type[Exception], ...] = (),
    ) -> None:
        """Send groups of at most ``most`` items with ``send``.

        Args:
            shared: errors that concern the whole group, since nobody was there to answer.
        """
        self._send = send
        self._most = most
        self._shared = shared
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._group: list[tuple[Item, asyncio.Future[Result]]] = []  # under way
        self._is_due = False
        self._alarm: asyncio.TimerHandle | None = None

    async def __call__(self, item: Item, *, within_s: float = 0.0) -> Result:
        """Return the result of one item; raises what its call raised.

        Args:
            item: to be sent.
            within_s: maximum time to wait for other items.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if not within_s:
            self._send_now()
        elif self._alarm is None:
            self._alarm = loop.call_later(within_s, self._send_now)
        return await future

    async def flush(self) -> None:
        """Send everything that waits, and wait for all results."""
        before = [future for _, future in (*self._group, *self._waiting) if not future.done()]
        if self._waiting:
            self._send_now()
        if before:
            await asyncio.wait(before)

    def _send_now(self) -> None:
        self._is_due = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._sender is None or self._sender.done():
            # A task, so that items of this turn of the event loop are in the group too.
            self._sender = asyncio.get_running_loop().create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        try:
            while self._waiting and self._is_due:
                self._group = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                self._is_due = bool(self._waiting)
                await self._send_group(self._group)
                self._group = []
        except asyncio.CancelledError:  # nobody sends any more: whoever waits must not wait for ever
            for _, future in (*self._group, *self._waiting):
                future.cancel()
            self._waiting.clear()
            raise

    async def _call(self, items: list[Item]) -> Sequence[Result]:
        """Send items; a call that was cancelled on its way, and not by us, is one that failed."""
        try:
            return await self._send(items)
        except asyncio.CancelledError:
            here = asyncio.current_task()
            if here is None or here.cancelling():
                raise
            raise ConnectionError("the call was cancelled on its way") from None

    async def _send_group(self, group: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._call([item for item, _ in group])
            if len(results) != len(group):
                raise RuntimeError(f"{len(results)} results came for {len(group)} items")
        except Exception as error:
            if len(group) > 1 and not isinstance(error, self._shared):
                for member in group:
                    await self._send_group([member])
                return
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():  # its caller may have gone away
                future.set_result(result)
