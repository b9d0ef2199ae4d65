"""A connection on which no whole request has begun in time is closed: a byte now and then holds no place.

uvicorn, which Ray's proxy listens with, waits for headers for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

MOST_S = 20.0  # from the first byte, or from the connection, to the end of the headers


def limit_headers(protocol: Any) -> None:
    """Give the connections of a uvicorn protocol class ``most_headers_s`` for the headers of each request."""
    if hasattr(protocol, "most_headers_s"):
        return
    connection_made, data_received = protocol.connection_made, protocol.data_received
    connection_lost = protocol.connection_lost

    def begin(self: Any) -> None:
        if self.header_limit is None and (self.cycle is None or self.cycle.response_complete):
            self.cycle_before = self.cycle
            self.header_limit = asyncio.get_running_loop().call_later(self.most_headers_s, close, self)

    def end(self: Any) -> None:
        if self.header_limit is not None:
            self.header_limit.cancel()
            self.header_limit = None

    def close(self: Any) -> None:
        self.header_limit = None
        if self.cycle is self.cycle_before:
            self.transport.close()

    def on_connection(self: Any, transport: asyncio.Transport) -> None:
        self.header_limit = None
        connection_made(self, transport)
        begin(self)

    def on_data(self: Any, data: bytes) -> None:
        begin(self)
        data_received(self, data)
        if self.cycle is not self.cycle_before:
            end(self)

    def on_loss(self: Any, error: Exception | None) -> None:
        end(self)
        connection_lost(self, error)

    protocol.connection_made, protocol.data_received = on_connection, on_data
    protocol.connection_lost, protocol.most_headers_s = on_loss, MOST_S


def limit_uvicorn() -> None:
    """Do that for every protocol that uvicorn may choose in this process."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    limit_headers(H11Protocol)
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:  # it is not installed, so h11 is used
        return
    limit_headers(HttpToolsProtocol)
