"""Every error of the web application comes out in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serve.wire.api_errors import ApiError


def error_reply(error: ApiError) -> JSONResponse:
    """Return the HTTP response for a refusal, with Retry-After if it is known."""
    return JSONResponse(error.body(), error.status, error.headers())


def refuse_field(place: Sequence[int | str], message: str) -> ApiError:
    """Return the error of a field that does not fit, in pydantic's words."""
    param = ".".join(map(str, place)) or None
    told = f"{message.removeprefix('Value error, ')}{f' (field {param})' if param else ''}"
    return ApiError(400, told, param=param, code="invalid_request")


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of the application come out in OpenAI's shape."""

    @app.exception_handler(ApiError)
    async def refuse(_request: Request, error: ApiError) -> JSONResponse:
        return error_reply(error)

    @app.exception_handler(RequestValidationError)
    async def refuse_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return error_reply(refuse_field([part for part in first["loc"] if part != "body"], first["msg"]))

    @app.exception_handler(Exception)
    async def own_up(_request: Request, _error: Exception) -> JSONResponse:
        # The server logs the traceback; the caller learns no more than that it is our fault.
        return error_reply(ApiError(500, "the endpoint failed on this request", code="internal_error"))

    @app.exception_handler(HTTPException)
    async def refuse_http(_request: Request, error: HTTPException) -> JSONResponse:
        response = error_reply(ApiError(error.status_code, str(error.detail)))
        response.headers.update(error.headers or {})
        return response
