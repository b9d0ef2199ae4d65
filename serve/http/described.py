"""What the paths that experts answer have in common: their callers, their refusals, how an answer is sent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import Response

from serve.dialects.stream_words import StreamWords
from serve.http.event_stream import EventStream, report_headers
from serve.http.reading import JsonReply
from serve.ledger.messages import Caller
from serve.request.gateway import Gateway
from serve.request.in_flight import CompletionRequest
from serve.wire.protocol import ErrorReply
from serve.wire.request_headers import NO_HEADERS, RequestHeaders

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorReply, "description": "the request does not hold together, or nobody may answer it"},
    401: {"model": ErrorReply, "description": "no key, or one that is not valid"},
    403: {"model": ErrorReply, "description": "the key permits no expert that is served"},
    404: {"model": ErrorReply, "description": "no such model or answer"},
    408: {"model": ErrorReply, "description": "the body of the request did not arrive"},
    413: {"model": ErrorReply, "description": "the request is too large"},
    429: {"model": ErrorReply, "description": "too many requests; Retry-After says when to come back"},
    503: {"model": ErrorReply, "description": "the ledger or the router is starting again"},
    502: {"model": ErrorReply, "description": "no expert could answer"},
    504: {"model": ErrorReply, "description": "no expert answered in time"},
}


_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
STREAM = {"content": {"text/event-stream": {"schema": _EVENT}}}


async def _caller(request: Request) -> Caller:  # async, or FastAPI would hand it to a thread
    caller: Caller = request.state.caller
    return caller


FromKey = Annotated[Caller, Depends(_caller)]
FromHeaders = Annotated[RequestHeaders, Header()]


async def complete(
    gateway: Gateway,
    request: CompletionRequest,
    caller: Caller,
    headers: RequestHeaders = NO_HEADERS,
    *,
    shape: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    words: StreamWords | None = None,
) -> Response:
    """Have a request answered; an answer goes out as it is, or as ``shape`` and ``words`` put it.

    Raises:
        ApiError: the request is refused, or nobody could answer it.
    """
    if not request.stream:
        with gateway.admit(caller):
            answer = await gateway.answer(request, caller, headers)
        told = answer if shape is None else shape(answer)
        return JsonReply(told, headers=report_headers(answer["leeroo"]))
    with ExitStack() as stack:
        stack.enter_context(gateway.admit(caller))
        report, pieces = await gateway.stream(request, caller, headers)
        held = stack.pop_all()  # the place is held until the last piece is sent
    return EventStream(pieces, held, report_headers(report), words)
