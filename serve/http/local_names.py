"""An endpoint that is open to all of this machine answers only to this machine's own names.

A page from elsewhere can make its own name point to 127.0.0.1 and then ask as if it came from here (DNS
rebinding); the name that it asked for gives it away.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.http.error_replies import error_reply
from serve.wire.api_errors import ApiError

_LOCAL = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
FOREIGN = ApiError(
    403,
    "this endpoint is open to its own machine only: ask it as localhost, 127.0.0.1 or [::1]",
    code="foreign_host",
)


def is_local_name(scope: Scope) -> bool:
    """Tell whether a request names this machine, and nothing else, as its host."""
    hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
    return len(hosts) == 1 and _LOCAL.fullmatch(hosts[0].strip()) is not None


class LocalNames:
    """ASGI middleware: requests to another host are answered with 403."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it was meant for this machine."""
        if scope["type"] == "http" and not is_local_name(scope):
            await error_reply(FOREIGN, scope.get("path", ""))(scope, receive, send)
            return
        await self._app(scope, receive, send)
