"""Calls between replicas on one node over a Unix socket, at a tenth of the cost of Ray Serve's handle.

A replica offers one method this way. A caller asks it for the address by its handle, and uses the handle
itself if the replica is on another node or the socket breaks. The socket lies in a directory that only this
user may enter, so data that is unpickled here was pickled by one of our own processes.
"""

from __future__ import annotations

import asyncio
import pickle
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray

_HEADER_BYTES = 4
TIMEOUT_S = 20.0
ELSEWHERE_S = 30.0  # between looks at where a replica of another node runs now
BROKEN = (OSError, EOFError, TimeoutError)

Address = tuple[str, str]  # node id, path of the socket


class LocalServer:
    """Answers calls of one method, one after the other on each connection."""

    def __init__(self, method: Callable[[Any], Awaitable[Any]]) -> None:
        self._method = method
        self._server: asyncio.Server | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._path = ""

    async def address(self) -> Address:
        """Return the address; listens from the first call on."""
        if self._server is None:
            self._directory = tempfile.TemporaryDirectory(prefix="leeroo-")  # mode 0700
            self._path = str(Path(self._directory.name, "calls"))
            self._server = await asyncio.start_unix_server(self._answer, self._path)
        return str(ray.get_runtime_context().get_node_id()), self._path

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # An exception closes the connection; the caller then asks by the handle, and learns it from there.
        with suppress(*BROKEN):
            while True:
                await _send(writer, await self._method(await _receive(reader)))
        writer.close()


class LocalCaller:
    """Calls one method of a deployment, by socket where that is possible."""

    def __init__(
        self, find: Callable[[], Awaitable[Address]], fall_back: Callable[[Any], Awaitable[Any]]
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
                        return await _receive(reader)
            except BROKEN:
                if self._connection is not None:
                    self._connection[1].close()
                self._connection = None
        return await self._fall_back(argument)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        node, path = await self._find()
        if node != ray.get_runtime_context().get_node_id():
            self._look_again_at = asyncio.get_running_loop().time() + ELSEWHERE_S
            return None
        return await asyncio.open_unix_connection(path)


async def _send(writer: asyncio.StreamWriter, content: Any) -> None:
    data = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(len(data).to_bytes(_HEADER_BYTES, "big") + data)
    await writer.drain()


async def _receive(reader: asyncio.StreamReader) -> Any:
    size = int.from_bytes(await reader.readexactly(_HEADER_BYTES), "big")
    return pickle.loads(await reader.readexactly(size))
