"""Errors as OpenAI's API words them: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import json
import math
from typing import Any

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_LONGEST_WAIT_S = 86_400.0


class ApiError(Exception):
    """A request is refused. ``code`` is OpenAI's machine-readable name of the cause."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """Return the error in OpenAI's shape. What is no Unicode in it is replaced."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        told = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": {name: _as_unicode(text) for name, text in told.items()}}

    def body_for_any(self) -> dict[str, Any]:
        """Return the error in a shape that clients of OpenAI and of Anthropic read, for who knows no path."""
        return {"type": "error", **self.body()}

    def last_words(self) -> bytes:
        """Return the end of a stream that breaks off, as events that clients of every API read."""
        told = json.dumps(self.body_for_any())
        return f"event: error\ndata: {told}\n\ndata: [DONE]\n\n".encode()

    def headers(self) -> dict[str, str]:
        """Return Retry-After, in whole seconds, where it is known."""
        wait_s = self.retry_after_s
        if not wait_s or math.isnan(wait_s):
            return {}
        return {"Retry-After": str(max(1, math.ceil(min(wait_s, _LONGEST_WAIT_S))))}


def _as_unicode(text: str | None) -> str | None:
    return None if text is None else text.encode(errors="replace").decode()
