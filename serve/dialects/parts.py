"""What the requests of several dialects are made of: our limits, parts of a turn, the chat request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pydantic import Field, ValidationError

from serve.wire.api_errors import ApiError
from serve.wire.constraints import AnswerLimits
from serve.wire.expert_request import ROUTED
from serve.wire.json_text import write_json
from serve.wire.protocol import ChatRequest

Part = dict[str, Any]  # of a message of a chat completion


class DialectRequest(AnswerLimits):
    """What requests in every dialect have. Fields that are not named here or there are not looked at."""

    model: str = Field(
        ROUTED,
        max_length=200,
        description="leeroo, leeroo:quality, leeroo:balanced, leeroo:economy, leeroo:ensemble, or an expert",
    )
    stream: bool | None = Field(None, description="send the answer as server-sent events")
    top_p: float | None = Field(None, gt=0, le=1, description="nucleus sampling")


def chat_request(asked: DialectRequest, fields: Mapping[str, Any]) -> ChatRequest:
    """Return a request as a chat completion: its own ``fields``, and what is the same in every dialect.

    Raises:
        ApiError: a chat completion takes no such request.
    """
    shared = {name: getattr(asked, name) for name in (*AnswerLimits.model_fields, "model", "stream", "top_p")}
    told = {name: value for name, value in {**shared, **fields}.items() if value is not None}
    if asked.stream:
        told["stream_options"] = {"include_usage": True}
    try:
        return ChatRequest.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        param = ".".join(map(str, first["loc"])) or None
        raise ApiError(400, message, param=param, code="invalid_request") from None


def content_of(parts: Sequence[Part]) -> str | list[Part]:
    """Return the content of a turn: one text where there is nothing but text, which every expert takes."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return list(parts)


def text_of(value: Mapping[str, Any], name: str, place: str) -> str:
    """Return a text that has to be there.

    Raises:
        ApiError: it is not.
    """
    text = value.get(name)
    if not isinstance(text, str):
        refuse(f"a text named {name} is missing", place)
    return text


def as_text(value: Any, place: str) -> str:
    """Return a value as JSON, for what a chat completion keeps as text.

    Raises:
        ApiError: it is nested too deep.
    """
    try:
        return write_json(value).decode()
    except RecursionError:
        refuse("it is nested too deep", place)


def refuse(message: str, place: str) -> NoReturn:
    """Refuse a request for what is at a place of it.

    Raises:
        ApiError: always.
    """
    raise ApiError(400, f"{message} (field {place})", param=place, code="invalid_request")
