"""litellm's own way to send, led over a wire of ours. Importing this module imports litellm."""

from __future__ import annotations

from typing import Any

from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

from experts.upstream.translated.wire import Wire, through


class WireHandler(AsyncHTTPHandler):  # type: ignore[misc]  # litellm asks for this very class
    """Sends one call over a wire; whatever litellm asks for, it gets no other client."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__()

    def create_client(self, *args: Any, **fields: Any) -> Any:
        """Return the client of the wire."""
        return through(self._wire)

    async def close(self) -> None:
        """Do nothing: whoever reads the reply hangs up."""
