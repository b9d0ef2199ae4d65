"""A streamed answer under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from experts.upstream.connection import Reply, TooLongError, is_garbled
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.reading import Answer
from experts.upstream.stream import Piece, StreamReader, pieces_of
from experts.upstream.usage import Usage


class UpstreamStream:
    """An async iterator of pieces; a failure is its last item. :meth:`begin` comes first.

    Args:
        reader: judges what comes.
        response: what it comes from.
        silence_s: how long the upstream may say nothing.
    """

    def __init__(self, reader: StreamReader | None, response: Reply | None, silence_s: float) -> None:
        self._reader, self._response, self._silence_s = reader, response, silence_s
        self._ready: list[Piece | Failure] = []
        self._usage: Usage | None = None
        self._is_closed = response is None

    @classmethod
    def of_answer(cls, answer: Answer) -> UpstreamStream:
        """Return a whole answer, from a server that streams none, as a stream."""
        stream = cls(None, None, 0.0)
        stream._ready = list(pieces_of(answer))
        stream._usage = answer.usage
        return stream

    @property
    def usage(self) -> Usage:
        """What has come of it so far: as told, where that can be believed, else our own count."""
        if self._usage is not None:
            return self._usage
        assert self._reader is not None
        return self._reader.usage

    async def begin(self) -> Failure | None:
        """Wait for a piece that shows something, or the end; return the failure that came instead."""
        while not self._is_closed and not self._shows and not self._failure:
            await self._read_more()
        if self._shows or self._failure is None:
            return None
        await self.aclose()
        return self._failure

    def __aiter__(self) -> AsyncIterator[Piece | Failure]:
        return self

    async def __anext__(self) -> Piece | Failure:
        while not self._ready:
            if self._is_closed:
                raise StopAsyncIteration
            await self._read_patiently()
        item = self._ready.pop(0)
        if isinstance(item, Failure):
            self._ready.clear()
            await self.aclose()
        return item

    async def aclose(self) -> None:
        """Cut the stream off, where it has not ended: the connection is closed at once."""
        self._is_closed = True
        if self._response is not None:
            self._response.close()

    @property
    def _shows(self) -> bool:
        return any(isinstance(item, Piece) and item.shows for item in self._ready)

    @property
    def _failure(self) -> Failure | None:
        return next((item for item in self._ready if isinstance(item, Failure)), None)

    async def _read_patiently(self) -> None:
        assert self._reader is not None
        try:
            async with asyncio.timeout(self._silence_s):
                await self._read_more()
        except TimeoutError:
            self._ready += self._reader.break_off(
                FailureKind.STALLED, f"the API fell silent for {self._silence_s:.3g} s within its answer"
            )
            await self.aclose()
        except BaseException:
            await self.aclose()
            raise

    async def _read_more(self) -> None:
        """Read until something is complete, or the stream has ended."""
        import aiohttp

        assert self._reader is not None
        assert self._response is not None
        try:
            while not self._reader.is_over:
                data = await self._response.content.readany()
                found = self._reader.feed(data) if data else self._reader.end()
                self._ready += found
                if found:
                    break
        except TooLongError as error:
            self._ready += self._reader.break_off(FailureKind.MALFORMED, str(error))
        except (aiohttp.ClientError, ConnectionError) as error:
            kind = FailureKind.MALFORMED if is_garbled(error) else FailureKind.BROKEN_CONNECTION
            self._ready += self._reader.break_off(kind, "the connection to the API broke within the answer")
        if self._reader.is_over:
            self._is_closed = True
            if self._response.content.at_eof():
                self._response.release()
            else:
                self._response.close()
