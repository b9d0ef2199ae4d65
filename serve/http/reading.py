"""A body is read once: bytes in, one parse, one validation, and its path is called with what came of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from serve.http.changed_keys import answer_by_present_limits
from serve.http.error_replies import refuse_field
from serve.wire.json_text import NotJsonError, read_json, write_json
from serve.wire.request_headers import RequestHeaders

Model = TypeVar("Model", bound=BaseModel)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonReply(Response):
    """An answer, written once."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the answer as JSON."""
        return content.model_dump_json().encode() if isinstance(content, BaseModel) else write_json(content)


class ReadOnce(APIRoute):
    """A path with a body, a caller and maybe headers: FastAPI describes it, and the body is read here.

    FastAPI's own reading parses with Python's reader, looks every dependency up and writes answers by way of
    copies. The rules are its: what is not called JSON is none, which also keeps pages of other sites from
    sending without the browser asking first.
    """

    def get_route_handler(self) -> Handler:
        """Return what answers a request: the path's function, called with the body and the caller."""
        assert self.body_field is not None
        model: type[BaseModel] = self.body_field.field_info.annotation  # type: ignore[assignment]
        endpoint = self.endpoint
        heeds_headers = bool(self.dependant.header_params)

        async def handle(request: Request) -> Response:
            if not is_called_json(request.headers.get("content-type", "")):
                raise refuse_field((), "give a body of type application/json")
            given = [read_headers(request)] if heeds_headers else []
            body = read_body(model, await request.body())
            reply = await answer_by_present_limits(request, lambda caller: endpoint(body, caller, *given))
            return reply if isinstance(reply, Response) else JsonReply(reply)

        return handle


def read_headers(request: Request) -> RequestHeaders:
    """Return what a request says in its headers; whatever stands in them is taken as it is."""
    told = request.headers.get
    return RequestHeaders.model_construct(
        traceparent=told("traceparent"),
        session=told(request.app.state.session_header) or None,
        cache_control=told("cache-control"),
    )


def is_called_json(content_type: str) -> bool:
    """Tell whether a body is JSON by what its sender calls it.

    >>> is_called_json("application/vnd.api+json; charset=utf-8"), is_called_json("text/plain")
    (True, False)
    """
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))


def read_body(model: type[Model], content: bytes) -> Model:
    """Return a body as its path wants it.

    Raises:
        ApiError: it is no JSON, or a field does not fit.
    """
    not_json: NotJsonError | None = None
    try:
        value = read_json(content)
    except NotJsonError as error:  # a field that does not fit is the plainer reason
        value, not_json = error.value, error
    try:
        body = model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise refuse_field(first["loc"], first["msg"]) from None
    if not_json is not None:
        raise not_json.refusal()
    return body
