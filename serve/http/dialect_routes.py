"""Paths of other APIs than the chat completion; what they ask goes the way of every request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import Response

from serve.dialects.messages_answer import MessagesReply, TokenCount, message_of
from serve.dialects.messages_errors import MessagesError
from serve.dialects.messages_events import MessageEvents
from serve.dialects.messages_request import CountRequest, MessagesRequest
from serve.dialects.responses_answer import ResponsesReply, response_of
from serve.dialects.responses_events import ResponseEvents
from serve.dialects.responses_request import ResponsesRequest
from serve.http.described import REFUSALS, STREAM, FromHeaders, FromKey, complete
from serve.request.gateway import Gateway
from serve.wire.api_errors import ApiError
from serve.wire.request_headers import NO_HEADERS
from serve.wire.vectors import EmbeddingsReply, EmbeddingsRequest, RerankReply, RerankRequest

_ANTHROPICS: dict[int | str, dict[str, Any]] = {
    code: {**told, "model": MessagesError} for code, told in REFUSALS.items()
}
#: Fields of a chat completion by the names that the Responses API has for them.
_NAMES_IN_RESPONSES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
}


def add_dialects(asked: APIRouter, gateway: Gateway) -> None:
    """Add the paths to those that have a body."""

    @asked.post(
        "/v1/responses", responses={200: {"model": ResponsesReply, **STREAM}, **REFUSALS}, response_model=None
    )
    async def responses(
        request: Annotated[ResponsesRequest, Body()], caller: FromKey, headers: FromHeaders = NO_HEADERS
    ) -> Response:
        """Answer in OpenAI's Responses API. Nothing is kept: a conversation is sent whole each time."""
        shape, words = partial(response_of, request), ResponseEvents(request)
        with _fields_named(_NAMES_IN_RESPONSES):
            return await complete(gateway, request.to_chat(), caller, headers, shape=shape, words=words)

    @asked.post(
        "/v1/messages",
        responses={200: {"model": MessagesReply, **STREAM}, **_ANTHROPICS},
        response_model=None,
    )
    async def messages(
        request: Annotated[MessagesRequest, Body()], caller: FromKey, headers: FromHeaders = NO_HEADERS
    ) -> Response:
        """Answer in Anthropic's Messages API; the key may come as ``x-api-key``."""
        shape, words = partial(message_of, request), MessageEvents(request)
        return await complete(gateway, request.to_chat(), caller, headers, shape=shape, words=words)

    @asked.post("/v1/messages/count_tokens", responses=_ANTHROPICS)
    async def count_tokens(request: Annotated[CountRequest, Body()], caller: FromKey) -> TokenCount:
        """Count the likely tokens of a request, without asking any expert.

        The most that an expert that may answer is likely to count. It is a request of the key's minute.
        """
        with gateway.admit(caller):
            return TokenCount(input_tokens=await gateway.count_tokens(request.to_chat(), caller))


def add_vectors(asked: APIRouter, gateway: Gateway) -> None:
    """Add the paths whose answers are no texts."""

    @asked.post(
        "/v1/embeddings", responses={200: {"model": EmbeddingsReply}, **REFUSALS}, response_model=None
    )
    async def embeddings(
        request: Annotated[EmbeddingsRequest, Body()], caller: FromKey, headers: FromHeaders = NO_HEADERS
    ) -> Response:
        """Return vectors of texts, by an expert whose catalogue entry ``offers`` embeddings."""
        return await complete(gateway, request, caller, headers)

    @asked.post("/v1/rerank", responses={200: {"model": RerankReply}, **REFUSALS}, response_model=None)
    async def rerank(
        request: Annotated[RerankRequest, Body()], caller: FromKey, headers: FromHeaders = NO_HEADERS
    ) -> Response:
        """Order documents by a query, by an expert whose catalogue entry ``offers`` rerank."""
        return await complete(gateway, request, caller, headers)


@contextmanager
def _fields_named(names: dict[str, str]) -> Iterator[None]:
    """Have errors name the fields as a dialect does."""
    try:
        yield
    except ApiError as error:
        first, dot, rest = (error.param or "").partition(".")
        error.param = f"{names.get(first, first)}{dot}{rest}" or None
        raise
