"""An expert behind an OpenAI-compatible API: a light deployment that passes requests on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from experts import ExpertSpec
from experts.upstream import Ask, Failure, FailureKind, UpstreamClient, ask_of
from serve.experts.client import StreamPiece, WholeAnswer
from serve.transport.own_port import keep_port_on_this_machine

#: What is passed on. The rest of OpenAI's fields, and those of other vendors, change the price, the model or
#: what is kept of a request (service_tier, models, provider, plugins, modalities, web_search_options,
#: prediction, store), and the key is the operator's.
_OPTIONS = (
    "messages prompt suffix echo max_tokens max_completion_tokens temperature top_p n best_of stop seed user"
    " presence_penalty frequency_penalty logit_bias logprobs top_logprobs response_format reasoning_effort"
    " verbosity tools tool_choice parallel_tool_calls functions function_call"
)
PASSED_ON = frozenset(_OPTIONS.split())
_TOOLS = ("custom", "function")  # others, such as a web search, are run by the API, for a price


class ApiExpert:
    """One replica of an API expert. Same face as :class:`serve.experts.vllm_expert.VllmExpert`."""

    def __init__(self, spec: ExpertSpec) -> None:
        keep_port_on_this_machine()
        self._spec = spec
        self._client = UpstreamClient(spec)

    async def answer(self, body: dict[str, Any], timeout_s: float) -> WholeAnswer | Failure:
        """Answer in one piece: a conversation if the body has ``messages``, else its ``prompt``."""
        ask = word_ask(self._spec, body)
        if isinstance(ask, Failure):
            return ask
        answer = await self._client.answer(ask, timeout_s)
        return answer if isinstance(answer, Failure) else WholeAnswer(answer.body, answer.usage)

    async def stream(
        self, body: dict[str, Any], timeout_s: float
    ) -> AsyncGenerator[StreamPiece | Failure, None]:
        """Answer piece by piece; a last piece without a body holds the final token counts."""
        ask = word_ask(self._spec, body)
        stream = ask if isinstance(ask, Failure) else await self._client.open_stream(ask, timeout_s)
        if isinstance(stream, Failure):
            yield stream
            return
        try:
            async for piece in stream:
                if isinstance(piece, Failure):
                    yield piece
                    return
                yield StreamPiece(piece.body, piece.shows, stream.usage)
            yield StreamPiece({}, False, stream.usage)
        finally:
            await stream.aclose()


def word_ask(spec: ExpertSpec, body: dict[str, Any]) -> Ask | Failure:
    """Return what is passed on of a request; a failure for tools that the API would run for a price."""
    fields = {name: value for name, value in body.items() if name in PASSED_ON and value is not None}
    tools = fields.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and "type" in tool for tool in tools):
        return _refused("tools", "give a list of objects with a type")
    if not all(tool["type"] in _TOOLS for tool in tools):
        return _refused("tools", f"only of type {' or '.join(_TOOLS)} here")
    if "messages" in fields and "prompt" in fields:
        return _refused("prompt", "give either messages or prompt")
    return ask_of(spec, fields)


def _refused(param: str, message: str) -> Failure:
    return Failure(FailureKind.BAD_REQUEST, f"{param}: {message}", param=param)
