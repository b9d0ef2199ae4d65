"""Has a replica on this node do work by way of its socket; see `local_stream.py`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from serve.transport.local_socket import BROKEN, ELSEWHERE_S, Address, frame, own_node, receive
from serve.transport.local_stream import Word

_MOST_IDLE = 64
_AGAIN_S = 1.0  # between looks for a replica that nobody could tell of


class NotTakenError(Exception):
    """Nothing was done, and nothing will be: there is no way to the replica but its handle."""


class FullError(Exception):
    """Nothing was done, and nothing will be: the replica has too many requests waiting."""


class LostError(Exception):
    """The replica was sent the request, and went away before its reply was whole."""


class RaisedError(Exception):
    """The method raised.

    Attributes:
        name: of the exception.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class StreamCaller:
    """Sends requests to a replica that runs a :class:`serve.transport.local_stream.StreamServer`.

    It looks for the replica while requests come, and again from time to time, because replicas are replaced.
    No request waits for that: until the replica is found, none is taken.
    """

    def __init__(self, find: Callable[[], Awaitable[Address | None]]) -> None:
        """``find`` asks a replica for its address, by its handle; None if its socket is not to be used."""
        self._find = find
        self._name = secrets.token_hex(8)  # by which a replica counts what each of its callers has waiting
        self._path: str | None = None
        self._idle: list[_Connection] = []
        self._looking: asyncio.Task[None] | None = None
        self._look_at = 0.0  # on the clock of the loop

    async def call(self, *arguments: Any) -> Any:
        """Return a whole answer. Who is cancelled cancels the work.

        Raises:
            NotTakenError: nothing was done.
            FullError: nothing was done.
            LostError: the replica went away.
            RaisedError: the method raised.
        """
        connection = await self._send(False, arguments)
        try:
            word, value = await self._receive(connection)
            if word != Word.END:
                raise ValueError("a piece of a stream came where an answer was to come")
            return value
        finally:
            self._give_back(connection)

    async def stream(self, *arguments: Any) -> AsyncGenerator[Any, None]:
        """Yield the pieces of a stream. Closed before its end it cancels the work. Raises as :meth:`call`."""
        connection = await self._send(True, arguments)
        try:
            while (reply := await self._receive(connection))[0] == Word.PIECE:
                yield reply[1]
        finally:
            self._give_back(connection)

    async def _send(self, is_stream: bool, arguments: tuple[Any, ...]) -> _Connection:
        data = frame((is_stream, arguments))
        connection = await self._connect()
        try:
            await connection.send(data)
        except BROKEN as error:  # how much of it has come over there nobody knows
            connection.end()
            self._forget(connection.path)
            raise LostError from error
        except BaseException:
            connection.end()
            raise
        return connection

    async def _receive(self, connection: _Connection) -> tuple[Word, Any]:
        """Return a piece, or the end of a reply."""
        try:
            told, value = await receive(connection.reader)
        except BROKEN as error:
            self._forget(connection.path)
            raise LostError from error
        word = Word(told)
        connection.is_free = word != Word.PIECE
        if word == Word.RAISED:
            raise RaisedError(value)
        if word == Word.FULL:
            raise FullError
        if word == Word.LEAVING:
            self._forget(connection.path)
            raise NotTakenError
        return word, value

    async def _connect(self) -> _Connection:
        """Return a connection that no request is using."""
        self._look_if_due()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_over():
                connection.is_free = False
                return connection
            connection.end()
        path = self._path
        if path is None:
            raise NotTakenError
        try:
            connection = _Connection(path, *await asyncio.open_unix_connection(path))
        except OSError as error:
            self._forget(path)
            raise NotTakenError from error
        connection.writer.write(frame(self._name))
        return connection

    def _give_back(self, connection: _Connection) -> None:
        is_known = connection.path == self._path
        if connection.is_free and is_known and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.end()

    def _forget(self, path: str | None) -> None:
        """Have the next request look for a replica again."""
        if path == self._path:
            self._use(None)
            self._look_at = 0.0

    def _use(self, path: str | None) -> None:
        if path != self._path:
            while self._idle:
                self._idle.pop().end()
        self._path = path

    def _look_if_due(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._look_at and (self._looking is None or self._looking.done()):
            self._looking = loop.create_task(self._look())

    async def _look(self) -> None:
        clock = asyncio.get_running_loop()
        self._look_at = clock.time() + _AGAIN_S
        try:
            address = await self._find()
        except Exception:  # of whatever kind: requests go by the handle, and fail there if they have to
            self._look_at = clock.time() + _AGAIN_S
            return
        self._look_at = clock.time() + ELSEWHERE_S
        self._use(address[1] if address is not None and address[0] == own_node() else None)


class _Connection:
    """A connection to a replica.

    Attributes:
        is_free: whether a whole reply has come to all that was sent.
    """

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.path, self.reader, self.writer = path, reader, writer
        self.is_free = False

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def is_over(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()

    def end(self) -> None:
        self.writer.transport.abort()  # `close` would still send what is left of a request
