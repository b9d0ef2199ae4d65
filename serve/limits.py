"""Refuse requests that are too large before anything of them is read or parsed."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import ApiError


class BodyLimit:
    """ASGI middleware: a body of more than ``max_bytes`` is answered with 413."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self._max_bytes:
            await self._refusal().response()(scope, receive, send)
            return
        chunks: list[Message] = []  # read here, since the announced length is not to be trusted
        size = 0
        while not chunks or chunks[-1].get("more_body"):
            chunks.append(await receive())
            size += len(chunks[-1].get("body", b""))
            if size > self._max_bytes:
                await self._refusal().response()(scope, receive, send)
                return
        waiting = iter(chunks)

        async def replay() -> Message:
            return next(waiting, None) or await receive()

        await self._app(scope, replay, send)

    def _refusal(self) -> ApiError:
        return ApiError(413, f"the request is larger than {self._max_bytes} bytes", code="request_too_large")
