"""One call that litellm has worded, on our own connections: what came is kept as it came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx

from experts.upstream.address import find_way
from experts.upstream.connection import MOST_BYTES, MOST_ERROR_BYTES, Clock, TooLongError, read_body
from experts.upstream.pool import ConnectionPool

if TYPE_CHECKING:
    import aiohttp

_MOST_STREAMED = 64 << 20  # bytes of a whole stream: litellm waits for the end of a line, however long it is
_MOST_TAIL = 16 << 10
#: The field by which Gemini ends an answer; inside a text its quotes would be escaped.
_GOOGLES_END = b'"finishReason"'
#: Of the connection, not of the content: it is decompressed here, and has another length then.
_OF_CONNECTION = frozenset(("content-encoding", "content-length", "transfer-encoding", "connection"))


class OffTheWireError(Exception):
    """The call failed on the way; :attr:`Wire.error` says how. litellm tries no such call again."""


class Wire(httpx.AsyncBaseTransport):
    """Carries one request of httpx through a :class:`ConnectionPool`; a second one is refused.

    So the rules of every other expert hold: no redirect is followed, the environment's proxies are obeyed and
    the loopback is not proxied, a connection that spoke unasked is given up, sizes are bounded.

    Args:
        pool: the connections.
        clock: told when headers have come.
        streamed: whether the reply is to be read piece by piece.

    Attributes:
        status: of the reply; None until one came.
        headers: of the reply.
        body: of a reply that is not streamed, or is an error.
        tail: the last bytes of a stream.
        tells_end: whether a stream had Gemini's field for the reason to end, which litellm makes up as well.
        error: what went wrong on the way.
    """

    def __init__(self, pool: ConnectionPool, clock: Clock, *, streamed: bool) -> None:
        self._pool, self._clock, self._streamed = pool, clock, streamed
        self._response: aiohttp.ClientResponse | None = None
        self._is_used = False
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.tail = b""
        self.tells_end = False
        self.error: Exception | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, once."""
        if self._is_used:
            raise OffTheWireError("a call is made once")
        self._is_used = True
        try:
            return await self._send(request)
        except Exception as error:
            self.close()
            self.error = error
            raise OffTheWireError(type(error).__name__) from None

    async def _send(self, request: httpx.Request) -> httpx.Response:
        url, proxy, login = find_way(str(request.url))
        headers = {name: value for name, value in request.headers.items() if name not in _OF_CONNECTION}
        del headers["host"]
        if self._streamed:
            headers["accept-encoding"] = "identity"
        response = await self._pool.session().request(
            request.method,
            url,
            data=await request.aread(),
            headers=headers,
            allow_redirects=False,
            proxy=proxy,
            proxy_auth=login,
        )
        self._response = response
        self._clock.has_begun = True
        self.status = response.status
        self.headers = {
            name.lower(): value
            for name, value in response.headers.items()
            if name.lower() not in _OF_CONNECTION
        }
        if self._streamed and response.status < 300:
            return httpx.Response(response.status, headers=self.headers, stream=_Bytes(self, response))
        self.body = await read_body(response, MOST_BYTES, MOST_ERROR_BYTES)
        response.release()
        return httpx.Response(response.status, headers=self.headers, content=self.body)

    def close(self) -> None:
        """Hang up, where the reply has not ended."""
        if self._response is not None:
            self._response.close()


class _Bytes(httpx.AsyncByteStream):
    """What comes of a stream, as it comes."""

    def __init__(self, wire: Wire, response: aiohttp.ClientResponse) -> None:
        self._wire, self._response = wire, response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            while data := await self._response.content.readany():
                size += len(data)
                if size > _MOST_STREAMED:
                    raise TooLongError(f"the API sent a stream of more than {_MOST_STREAMED >> 20} MiB")
                known = self._wire.tail[-len(_GOOGLES_END) :] + data
                self._wire.tells_end |= _GOOGLES_END in known
                self._wire.tail = (self._wire.tail + data)[-_MOST_TAIL:]
                yield data
        except Exception as error:
            self._wire.error = error
            self._wire.close()
            raise OffTheWireError(type(error).__name__) from None

    async def aclose(self) -> None:
        self._response.close()


def through(wire: Wire) -> Any:
    """Return a client of httpx that goes over a wire, and nowhere else."""
    return httpx.AsyncClient(transport=wire, follow_redirects=False, trust_env=False, timeout=None)
