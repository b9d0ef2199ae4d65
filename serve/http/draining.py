"""Stopping as a client sees it: new requests are refused; those under way finish or get an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.error_replies import error_reply
from serve.ledger.messages import Life
from serve.wire.api_errors import ApiError

_LOOKED_AT = {"/healthz", "/metrics"}  # not requests of anybody's; they say how stopping goes on
_BOOKING_S = 0.5  # for what has just ended to keep its books
STOPPING = ApiError(503, "the endpoint is shutting down", code="shutting_down", retry_after_s=5)
_CUT = ApiError(502, "the answer broke off: the endpoint is shutting down", code="shutting_down")


class Draining:
    """ASGI middleware: counts the requests under way, and ends them when the time for stopping is over."""

    def __init__(
        self, app: ASGIApp, life: Life, end_background: Callable[[float], Awaitable[object]]
    ) -> None:
        """``end_background`` waits so many seconds for work that nobody waits for, and then ends it."""
        self._app = app
        self._life = life
        self._end_background = end_background
        self._ending: asyncio.Task[None] | None = None
        self._limits: set[asyncio.Timeout] = set()
        life.on_draining = self._set_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless the endpoint is stopping."""
        if scope["type"] != "http" or scope["path"] in _LOOKED_AT:
            await self._app(scope, receive, send)
            return
        if self._life.is_draining:
            await _refuse(scope, receive, send)
            return
        self._life.in_flight += 1
        try:
            await self._within_time(scope, receive, send)
        finally:
            self._life.in_flight -= 1

    async def _within_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str | None = None  # of the answer, once it has begun
        is_open = True

        async def watch(message: Message) -> None:
            nonlocal kind, is_open
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
            elif message["type"] == "http.response.body":
                is_open = message.get("more_body", False)
            await send(message)

        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                await self._app(scope, receive, watch)
        except TimeoutError:
            if not limit.expired():
                raise
            if kind is None:
                await _refuse(scope, receive, send)
            elif is_open and kind.startswith("text/event-stream"):
                await send({"type": "http.response.body", "body": _CUT.last_words()})
        finally:
            self._limits.discard(limit)

    def _set_limits(self) -> None:
        loop, left_s = asyncio.get_running_loop(), self._life.ends_at - time.monotonic()
        for limit in self._limits:
            limit.reschedule(loop.time() + left_s)
        self._ending = loop.create_task(self._end_rest(left_s))

    async def _end_rest(self, left_s: float) -> None:
        await asyncio.sleep(left_s)
        await self._end_background(_BOOKING_S)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    response = error_reply(STOPPING, scope.get("path", ""))
    if scope["path"] == "/readyz":
        response = JSONResponse({"ready": False, "experts": {}}, 503)
    response.headers["Connection"] = "close"  # the next request goes elsewhere
    await response(scope, receive, send)
