"""The least a gateway in Python can do: a plain ASGI application that passes requests on, and replies back.

``UPSTREAM=http://... uvicorn bench.gateway.passing:app``.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Passing:
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        pieces, more = [], True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        url, headers = self._upstream + scope["path"], {"content-type": "application/json"}
        async with self._web.post(url, data=b"".join(pieces), headers=headers) as reply:
            kept = [(b"content-type", reply.headers["content-type"].encode())]
            if reply.content_length is not None:
                kept.append((b"content-length", b"%d" % reply.content_length))
            await send({"type": "http.response.start", "status": reply.status, "headers": kept})
            async for piece in reply.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._web = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
            else:
                await self._web.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


app = Passing(os.environ.get("UPSTREAM", ""))
