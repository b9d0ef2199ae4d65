"""How the gateway talks to an expert whose only replica is on its node: over a Unix socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from experts import ExpertSpec
from experts.upstream import Ask, Failure
from serve.experts.client import Body, OpenStream, StreamPiece, WholeAnswer, read_opening
from serve.experts.handle import GRACE_S, HandleClient, failure_of
from serve.transport.local_stream_caller import NotTakenError, StreamCaller


class LocalClient:
    """Asks an expert's replica by its socket; where that cannot take a request, by the handle.

    A request that the replica was sent is not repeated, whatever becomes of it.

    Args:
        spec: the expert.
        calls: sends requests to the socket.
        by_handle: asks the same expert.
    """

    at_once: int | None = None

    def __init__(self, spec: ExpertSpec, calls: StreamCaller, by_handle: HandleClient) -> None:
        self.spec = spec
        self._calls, self._by_handle = calls, by_handle

    async def is_running(self) -> bool:
        """See :class:`ExpertClient`."""
        return await self._by_handle.is_running()

    async def answer(self, ask: Ask, timeout_s: float) -> WholeAnswer | Failure:
        """See :class:`ExpertClient`. When time runs out the replica is told to stop."""
        ends_at = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s + GRACE_S):
                answer: WholeAnswer | Failure = await self._calls.call(ask.body, timeout_s)
                return answer
        except NotTakenError:
            pass
        except Exception as error:
            return failure_of(error, timeout_s)
        return await self._by_handle.answer(ask, _left_s(ends_at))

    async def open_stream(self, ask: Ask, timeout_s: float) -> OpenStream | Failure:
        """See :class:`ExpertClient`."""
        ends_at = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s + GRACE_S):
                return await read_opening(self._pieces(ask.body, timeout_s))
        except NotTakenError:
            pass
        except Exception as error:
            return failure_of(error, timeout_s)
        return await self._by_handle.open_stream(ask, _left_s(ends_at))

    async def _pieces(self, body: Body, timeout_s: float) -> AsyncGenerator[StreamPiece | Failure, None]:
        pieces = self._calls.stream(body, timeout_s)
        try:
            async for piece in pieces:
                yield piece
        except NotTakenError:  # before the first piece
            raise
        except Exception as error:
            yield failure_of(error, timeout_s)
        finally:
            await pieces.aclose()  # a client that went away must not keep an engine busy


def _left_s(ends_at: float) -> float:
    return max(0.001, ends_at - time.monotonic())
