"""Unix sockets between processes of one user on one node: where one listens, and the frames that pass.

A socket lies in a directory that only this user may enter, so data that is unpickled here was pickled by
one of our own processes.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

logger = logging.getLogger("ray.serve")

_HEADER_BYTES = 4
_BACKLOG = 1024  # connections at once that nobody has taken yet; a burst of requests opens as many
ELSEWHERE_S = 30.0  # between looks at where a replica runs now
BROKEN = (OSError, EOFError, TimeoutError)

Address = tuple[str, str]  # node id, path of the socket


class PrivateListener:
    """Listens on a socket of its own, from the first question for its address on."""

    def __init__(self, make_protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """``make_protocol`` makes what serves one connection."""
        self._make_protocol = make_protocol
        self._listening: asyncio.Task[str | None] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self.server: asyncio.Server | None = None

    async def address(self) -> Address | None:
        """Return the address; None where no socket can be had, upon which callers use the handle."""
        if self._listening is None:  # two may ask at once
            self._listening = asyncio.get_running_loop().create_task(self._listen())
        path = await asyncio.shield(self._listening)
        return None if path is None else (own_node(), path)

    async def _listen(self) -> str | None:
        loop = asyncio.get_running_loop()
        try:
            self._directory = tempfile.TemporaryDirectory(prefix="leeroo-")  # mode 0700
            path = str(Path(self._directory.name, "calls"))
            self.server = await loop.create_unix_server(self._make_protocol, path, backlog=_BACKLOG)
        except OSError as error:  # such as a TMPDIR longer than the 107 bytes that a socket's path may have
            logger.warning("no socket in %s (%s): requests cost more", tempfile.gettempdir(), error)
            return None
        return path


def own_node() -> str:
    """Return the id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def frame(content: Any) -> bytes:
    """Return what is written to send a value."""
    data = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_HEADER_BYTES, "big") + data


async def receive(reader: asyncio.StreamReader) -> Any:
    """Return the next value.

    Raises:
        EOFError: the connection ended before it had come whole.
    """
    size = int.from_bytes(await reader.readexactly(_HEADER_BYTES), "big")
    return pickle.loads(await reader.readexactly(size))
