"""Calls between replicas on one node over a Unix socket, at a tenth of the cost of Ray Serve's handle.

A replica offers one method this way. A caller asks it for the address by its handle, and uses the handle
itself if the replica is on another node or the socket breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from serve.transport.local_socket import (
    BROKEN,
    ELSEWHERE_S,
    Address,
    PrivateListener,
    frame,
    own_node,
    receive,
)

TIMEOUT_S = 20.0


class LocalServer:
    """Answers calls of one method, one after the other on each connection."""

    def __init__(self, method: Callable[[Any], Awaitable[Any]]) -> None:
        self._method = method
        self._listener = PrivateListener(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._answer)
        )

    async def address(self) -> Address | None:
        """Return the address; listens from the first call on."""
        return await self._listener.address()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # An exception closes the connection; the caller then asks by the handle, and learns it from there.
        with suppress(*BROKEN):
            while True:
                await _send(writer, await self._method(await receive(reader)))
        writer.close()


class LocalCaller:
    """Calls one method of a deployment, by socket where that is possible."""

    def __init__(
        self, find: Callable[[], Awaitable[Address | None]], fall_back: Callable[[Any], Awaitable[Any]]
    ) -> None:
        """``find`` asks a replica for its address; ``fall_back`` calls the method by the handle."""
        self._find = find
        self._fall_back = fall_back
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._look_again_at = 0.0  # on the clock of the loop: the replica was on another node

    async def __call__(self, argument: Any) -> Any:
        """Return the result of the method, which may run twice. Only one call at a time."""
        if self._connection is not None or asyncio.get_running_loop().time() >= self._look_again_at:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    if self._connection is None:
                        self._connection = await self._connect()
                    if self._connection is not None:
                        reader, writer = self._connection
                        await _send(writer, argument)
                        return await receive(reader)
            except BROKEN:
                if self._connection is not None:
                    self._connection[1].close()
                self._connection = None
        return await self._fall_back(argument)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        address = await self._find()
        if address is None or address[0] != own_node():
            self._look_again_at = asyncio.get_running_loop().time() + ELSEWHERE_S
            return None
        return await asyncio.open_unix_connection(address[1])


async def _send(writer: asyncio.StreamWriter, content: Any) -> None:
    writer.write(frame(content))
    await writer.drain()
