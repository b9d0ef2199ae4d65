"""Work that a replica does for callers on its node, over a Unix socket: whole answers, and streams of pieces.

Serve's handle costs ten times as much, and more for each piece. Here, unlike in `local_call.py`, a call is
never made twice: it may cost money. Each request has a connection of its own while it is worked on. A caller
that goes away closes it, upon which the work is cancelled; after a whole reply it serves the next request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from enum import IntEnum
from typing import Any

from serve.transport.local_socket import BROKEN, Address, PrivateListener, frame, receive

logger = logging.getLogger("ray.serve")

#: What a slow reader may leave unread before its stream is held up: more than nearly every answer has.
_UNREAD_BYTES = 8 * 1024 * 1024
_LEAVING_S = 0.02


class Word(IntEnum):
    """What a frame of a reply says. All but ``PIECE`` end it."""

    PIECE = 0  # of a stream: the value
    END = 1  # all has come; of a whole answer: the value
    RAISED = 2  # the method raised: the exception's name
    FULL = 3  # nothing was done: too many requests wait
    LEAVING = 4  # nothing was done: the replica is told to stop


def reply(word: Word, value: Any = None) -> bytes:
    """Return a frame of a reply."""
    return frame((int(word), value))  # an enum's member takes ten times as long to pickle


class StreamServer:
    """Offers the two methods of a replica, to so many requests at once; further ones wait, first come first.

    Args:
        answer: returns a whole answer.
        stream: yields the pieces of one.
        at_once: how many requests are worked on at once.
        most_waiting: how many requests of one caller may wait meanwhile.
    """

    def __init__(
        self,
        answer: Callable[..., Awaitable[Any]],
        stream: Callable[..., AsyncGenerator[Any, None]],
        *,
        at_once: int,
        most_waiting: int,
    ) -> None:
        self._answer, self._stream = answer, stream
        self._places = asyncio.Semaphore(at_once)
        self._most_waiting = most_waiting
        self._waiting: Counter[str] = Counter()  # by caller
        self._writers: set[asyncio.StreamWriter] = set()
        self._under_way = 0
        self._is_leaving = False
        self._listener = PrivateListener(lambda: asyncio.StreamReaderProtocol(_WatchedReader(), self._serve))

    async def address(self) -> Address | None:
        """Return the address; listens from the first call on.

        Raises:
            ConnectionError: the replica is told to stop.
        """
        if self._is_leaving:
            raise ConnectionError("this replica is told to stop")
        return await self._listener.address()

    def leave(self) -> Coroutine[Any, Any, None] | None:
        """Take no further request. Return what waits for those under way; None if there are none."""
        self._is_leaving = True
        return self._finish() if self._is_busy() else None

    async def _finish(self) -> None:
        while self._is_busy():
            await asyncio.sleep(_LEAVING_S)

    def _is_busy(self) -> bool:
        """Tell whether a request is under way, or a reply has not been taken yet."""
        return bool(self._under_way) or any(one.transport.get_write_buffer_size() for one in self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, one request after the other."""
        assert isinstance(reader, _WatchedReader)
        writer.transport.set_write_buffer_limits(high=_UNREAD_BYTES)
        self._writers.add(writer)
        try:
            with suppress(*BROKEN):
                caller = await receive(reader)
                while True:
                    is_stream, arguments = await receive(reader)
                    self._under_way += 1
                    reader.work = asyncio.current_task()
                    try:
                        await self._reply(writer, caller, is_stream, arguments)
                    finally:
                        reader.work = None
                        self._under_way -= 1
        except asyncio.CancelledError:
            if not reader.is_over:  # by others than its caller
                raise
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _reply(
        self, writer: asyncio.StreamWriter, caller: str, is_stream: bool, arguments: tuple[Any, ...]
    ) -> None:
        last = b""
        if self._is_leaving:
            last = reply(Word.LEAVING)
        elif self._waiting[caller] >= self._most_waiting:
            last = reply(Word.FULL)
        else:
            await self._take_place(caller)
            try:
                last = await self._work(writer, is_stream, arguments)
            finally:
                self._places.release()
        writer.write(last)
        await writer.drain()

    async def _take_place(self, caller: str) -> None:
        self._waiting[caller] += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting[caller] -= 1
            if not self._waiting[caller]:
                del self._waiting[caller]

    async def _work(self, writer: asyncio.StreamWriter, is_stream: bool, arguments: tuple[Any, ...]) -> bytes:
        """Do the work of a request; return the last frame of the reply."""
        try:
            if not is_stream:
                return reply(Word.END, await self._answer(*arguments))
            async with aclosing(self._stream(*arguments)) as pieces:
                async for piece in pieces:
                    writer.write(reply(Word.PIECE, piece))
                    await writer.drain()
            return reply(Word.END)
        except Exception as error:
            if not writer.is_closing():  # else its caller has gone, and that is all there is to it
                logger.exception("a request that came by the socket failed")
            return reply(Word.RAISED, type(error).__name__)


class _WatchedReader(asyncio.StreamReader):
    """Cancels the work for a caller once it has closed its connection: nobody reads meanwhile."""

    work: asyncio.Task[Any] | None = None
    is_over = False

    def feed_eof(self) -> None:
        super().feed_eof()
        self._cancel()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._cancel()

    def _cancel(self) -> None:
        self.is_over = True
        work, self.work = self.work, None  # once: what is cancelled may take its time to end
        if work is not None:
            work.cancel()
