"""Refuse requests that are too large, or never come whole, before anything of them is parsed."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.error_replies import error_reply
from serve.wire.api_errors import ApiError

PATIENCE_S = 10.0  # between two parts of a body
MOST_S = 60.0  # for all of it: a byte now and then does not hold a place for ever


class BodyLimit:
    """ASGI middleware: a body of more than ``max_bytes`` is answered with 413, one that stays away with 408.

    The latter comes of slow clients, and of Ray's proxy: where an ingress dies with a request in its hands,
    the proxy may pass it on to the next one without the body that the first has read already.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, patience_s: float = PATIENCE_S, most_s: float = MOST_S
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._most_s = most_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it is small enough and all there."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            chunks = await self._read(scope, receive)
        except ApiError as refusal:
            await error_reply(refusal, scope.get("path", ""))(scope, receive, send)
            return
        waiting = iter(chunks)

        async def replay() -> Message:
            return next(waiting, None) or await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> list[Message]:
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise self._too_large()
        chunks: list[Message] = []  # read here, since the announced length is not to be trusted
        size = 0
        ends = time.monotonic() + self._most_s
        while not chunks or chunks[-1].get("more_body"):
            left_s = ends - time.monotonic()
            try:
                async with asyncio.timeout(min(self._patience_s, left_s)):
                    chunks.append(await receive())
            except TimeoutError:
                told = f"nothing of the request's body arrived for {self._patience_s:g} s"
                if left_s < self._patience_s:
                    told = f"the request's body was not there after {self._most_s:g} s"
                raise ApiError(
                    408,
                    f"{told}; ask again",
                    code="body_timeout",
                    retry_after_s=1,
                ) from None
            size += len(chunks[-1].get("body", b""))
            if size > self._max_bytes:
                raise self._too_large()
        return chunks

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the request is larger than {self._max_bytes} bytes", code="request_too_large")
