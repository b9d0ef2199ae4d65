"""Errors as OpenAI's API words them: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


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
        """Return the error in OpenAI's shape."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the HTTP response, with Retry-After where it is known."""
        headers = {"Retry-After": str(max(1, round(self.retry_after_s)))} if self.retry_after_s else None
        return JSONResponse(self.body(), self.status, headers)


@dataclass(frozen=True)
class ExpertFailure:
    """An expert could not answer. Travels between processes as a value, so that nothing of it is lost.

    ``status`` is the HTTP status it amounts to: 400 the request does not suit this expert, 429 it is busy,
    5xx it is broken, 504 it was too slow.
    """

    status: int
    message: str
    code: str | None = None

    @property
    def is_our_fault(self) -> bool:
        """Whether the expert, not the request, is to blame."""
        return self.status >= 500 or self.status == 429


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of the application come out in OpenAI's shape."""

    @app.exception_handler(ApiError)
    async def refuse(_request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def refuse_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body") or None
        message = f"{first['msg'].removeprefix('Value error, ')}{f' (field {param})' if param else ''}"
        return ApiError(400, message, param=param, code="invalid_request").response()

    @app.exception_handler(Exception)
    async def own_up(_request: Request, _error: Exception) -> JSONResponse:
        # The server logs the traceback; the caller learns no more than that it is our fault.
        return ApiError(500, "the endpoint failed on this request", code="internal_error").response()

    @app.exception_handler(HTTPException)
    async def refuse_http(_request: Request, error: HTTPException) -> JSONResponse:
        response = ApiError(error.status_code, str(error.detail)).response()
        response.headers.update(error.headers or {})
        return response
