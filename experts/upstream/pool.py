"""The connections of one process to all the APIs that it asks."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

from experts.upstream.address import tls_context

if TYPE_CHECKING:
    import aiohttp

_MOST_HEADER = 64 << 10
_KEPT_OPEN_S = 4.0  # servers close idle connections after five seconds and more: ours is closed first
_CONNECT_S = 10.0  # to an address that says nothing at all: nothing was sent
_ADDRESS_KNOWN_S = 30.0
_MOST_STALE = 64  # connections that are given up for one call


class ConnectionPool:
    """Keeps connections open between calls, within one event loop; several experts may share one.

    It has no limit of its own: whoever asks counts the calls of each expert, and a queue here would serve
    nobody in turn. Addresses are looked up once in half a minute.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """Return what calls go through; the first time it reads the certificates, and begins."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_connector_class()(
                    limit=0,
                    keepalive_timeout=_KEPT_OPEN_S,
                    ttl_dns_cache=round(_ADDRESS_KNOWN_S),
                    ssl=tls_context(),
                    enable_cleanup_closed=True,
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                max_line_size=_MOST_HEADER,
                max_field_size=_MOST_HEADER,
                read_bufsize=_MOST_HEADER,
                cookie_jar=aiohttp.DummyCookieJar(),
                requote_redirect_url=False,
            )
        return self._session

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


@cache
def _connector_class() -> type[aiohttp.TCPConnector]:
    """Return a connector that gives up connections on which something came unasked.

    aiohttp keeps what an API sends between two calls, and takes it for the reply to the next one. Every call
    after it on this connection would be given the reply to the call before: another caller's.
    """
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        async def connect(self, *args: Any, **fields: Any) -> Any:
            for _ in range(_MOST_STALE):
                connection = await super().connect(*args, **fields)
                await asyncio.sleep(0)  # what has come by now is read
                protocol = connection.protocol
                if protocol is not None and protocol.is_connected() and not protocol.should_close:
                    return connection
                connection.close()
            raise aiohttp.ClientConnectionError("the API speaks before it is asked")

    return Connector
