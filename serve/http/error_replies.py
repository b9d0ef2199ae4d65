"""Every error of the web application comes out in the shape of the API that its path belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serve.dialects.messages_errors import error_body
from serve.wire.api_errors import ApiError

_ANTHROPIC = "/v1/messages"


def error_reply(error: ApiError, path: str) -> JSONResponse:
    """Return the HTTP response for a refusal on a path, with Retry-After if it is known."""
    is_anthropic = path == _ANTHROPIC or path.startswith(f"{_ANTHROPIC}/")
    return JSONResponse(error_body(error) if is_anthropic else error.body(), error.status, error.headers())


def refuse_field(place: Sequence[int | str], message: str) -> ApiError:
    """Return the error of a field that does not fit, in pydantic's words."""
    param = ".".join(map(str, place)) or None
    told = f"{message.removeprefix('Value error, ')}{f' (field {param})' if param else ''}"
    return ApiError(400, told, param=param, code="invalid_request")


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of the application come out in the shape of its path."""

    @app.exception_handler(ApiError)
    async def refuse(request: Request, error: ApiError) -> JSONResponse:
        return error_reply(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def refuse_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = [part for part in first["loc"] if part != "body"]
        return error_reply(refuse_field(place, first["msg"]), request.url.path)

    @app.exception_handler(Exception)
    async def own_up(request: Request, _error: Exception) -> JSONResponse:
        # The server logs the traceback; the caller learns no more than that it is our fault.
        error = ApiError(500, "the endpoint failed on this request", code="internal_error")
        return error_reply(error, request.url.path)

    @app.exception_handler(HTTPException)
    async def refuse_http(request: Request, error: HTTPException) -> JSONResponse:
        response = error_reply(ApiError(error.status_code, str(error.detail)), request.url.path)
        response.headers.update(error.headers or {})
        return response
