"""An expert behind an API, asked from the ingress itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from experts import ExpertSpec
from experts.backends.registry import connect
from experts.upstream import Ask, ConnectionPool, Failure, FailureKind, UpstreamStream, ask_of
from serve.experts.client import OpenStream, StreamPiece, WholeAnswer, read_opening

#: What is passed on. The rest of OpenAI's fields, and those of other vendors, change the price, the model or
#: what is kept of a request (service_tier, models, provider, plugins, modalities, web_search_options,
#: prediction, store), and the key is the operator's.
_OPTIONS = (
    "messages prompt suffix echo max_tokens max_completion_tokens temperature top_p n best_of stop seed user"
    " presence_penalty frequency_penalty logit_bias logprobs top_logprobs response_format reasoning_effort"
    " input encoding_format dimensions query documents top_n return_documents"
    " verbosity tools tool_choice parallel_tool_calls functions function_call"
)
PASSED_ON = frozenset(_OPTIONS.split())
_TOOLS = ("custom", "function")  # others, such as a web search, are run by the API, for a price


class DirectClient:
    """Asks one expert's API; see :class:`serve.experts.client.ExpertClient`.

    Args:
        spec: the expert.
        pool: the connections of this process; its own when not given.
        at_once: this process's share of the expert's ``concurrency``; all of it when not given.

    Raises:
        CannotRunError: its key is missing, or holds what no header can.
    """

    def __init__(
        self, spec: ExpertSpec, pool: ConnectionPool | None = None, at_once: int | None = None
    ) -> None:
        self.spec = spec
        self.at_once: int | None = spec.concurrency if at_once is None else at_once
        self._client = connect(spec, pool=pool)

    async def is_running(self) -> bool:
        """See :class:`ExpertClient`. Nothing of ours can be down; the breaker knows how the API is."""
        return True

    async def answer(self, ask: Ask, timeout_s: float) -> WholeAnswer | Failure:
        """See :class:`ExpertClient`."""
        passed_on = pass_on(ask)
        if isinstance(passed_on, Failure):
            return passed_on
        answer = await self._client.answer(passed_on, timeout_s)
        return answer if isinstance(answer, Failure) else WholeAnswer(answer.body, answer.usage)

    async def open_stream(self, ask: Ask, timeout_s: float) -> OpenStream | Failure:
        """See :class:`ExpertClient`."""
        passed_on = pass_on(ask)
        if isinstance(passed_on, Failure):
            return passed_on
        stream = await self._client.open_stream(passed_on, timeout_s)
        return stream if isinstance(stream, Failure) else await read_opening(_pieces(stream))

    async def aclose(self) -> None:
        """Close the connections that are its own."""
        await self._client.aclose()


async def _pieces(stream: UpstreamStream) -> AsyncGenerator[StreamPiece | Failure, None]:
    """Yield the pieces of a stream; a last one without a body holds the final token counts."""
    try:
        async for piece in stream:
            if isinstance(piece, Failure):
                yield piece
                return
            yield StreamPiece(piece.body, piece.shows, stream.usage)
        yield StreamPiece({}, False, stream.usage)
    finally:
        await stream.aclose()


def pass_on(ask: Ask) -> Ask | Failure:
    """Return what is passed on of a request; a failure for tools that the API would run for a price."""
    fields = {name: value for name, value in ask.body.items() if name in PASSED_ON and value is not None}
    tools = fields.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and "type" in tool for tool in tools):
        return _refused("tools", "give a list of objects with a type")
    if not all(tool["type"] in _TOOLS for tool in tools):
        return _refused("tools", f"only of type {' or '.join(_TOOLS)} here")
    if "messages" in fields and "prompt" in fields:
        return _refused("prompt", "give either messages or prompt")
    if len(fields) == len(ask.body):  # all of it: what it may come to is known already
        return ask
    return ask_of(ask.spec, fields)


def _refused(param: str, message: str) -> Failure:
    return Failure(FailureKind.BAD_REQUEST, f"{param}: {message}", param=param)
