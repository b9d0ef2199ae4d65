"""Ray's HTTP proxy answers for an ingress that died: in its own words, which no OpenAI client understands.

The middleware here runs in the proxy and puts them into OpenAI's error shape. Where HAProxy is the front it
runs around each ingress itself; what HAProxy says is worded in ``serve.front.haproxy``. Ray loads it where
the cluster was started with
``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.http.proxy_errors:middlewares``.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.error_replies import error_reply
from serve.http.last_words import Witness
from serve.http.own_listener import listen_on_this_machine
from serve.http.short_way import ShortWay
from serve.http.slow_headers import limit_uvicorn
from serve.wire.api_errors import ApiError

IMPORT_PATH = "serve.http.proxy_errors:middlewares"


def middlewares() -> list[Middleware]:
    """Return what Ray's proxy is to wrap around itself; connections get a limit for their headers too."""
    from ray.serve.context import _get_internal_replica_context

    limit_uvicorn()
    listen_on_this_machine()
    if _get_internal_replica_context() is None:
        return [Middleware(ErrorShape)]
    return [Middleware(ShortWay), Middleware(ErrorShape, witness=Witness(_LAST_WORDS))]


DIED = ApiError(
    503, "the endpoint died while it worked on this; ask again", code="restarting", retry_after_s=2
)
GONE = ApiError(503, "no endpoint runs here now", code="shutting_down", retry_after_s=5)
TIMED_OUT = ApiError(504, "the time for this request ran out", code="timeout")
STARTING_AGAIN = ApiError(503, "the endpoint is starting again", code="restarting", retry_after_s=2)
_REFUSALS = {404: GONE, 408: TIMED_OUT, 503: STARTING_AGAIN}


class ErrorShape:
    """ASGI middleware: an error in plain text becomes one of ours, and a stream that is cut ends with one."""

    def __init__(self, app: ASGIApp, witness: Witness | None = None) -> None:
        """``witness`` ends the streams when this process is killed."""
        self._app = app
        self._witness = witness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and mend its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kind, is_open = "", True
        watched: bytes | None = None
        refusal: ApiError | None = DIED  # the proxy says nothing at all when an ingress dies

        async def mend(message: Message) -> None:
            nonlocal kind, is_open, refusal, watched
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                refusal = _REFUSALS.get(message["status"]) if kind.startswith("text/plain") else None
                if self._witness is not None and kind.startswith("text/event-stream"):
                    watched = self._witness.watch(send)
            elif message["type"] == "http.response.body":
                is_open = message.get("more_body", False)
            if refusal is None:
                await send(message)

        try:
            await self._app(scope, receive, mend)
        finally:
            if self._witness is not None and watched is not None:
                self._witness.forget(watched)
        if refusal is not None:
            await error_reply(refusal, scope.get("path", ""))(scope, receive, send)
        elif is_open and kind.startswith("text/event-stream"):
            await send({"type": "http.response.body", "body": _LAST_WORDS})


_LAST_WORDS = ApiError(502, "the answer broke off: the endpoint died", code="stream_cut").last_words()
