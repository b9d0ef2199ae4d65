"""An expert behind an OpenAI-compatible API: a light deployment that passes requests on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from experts import ExpertSpec
from serve.experts.vllm_expert import with_defaults
from serve.wire.api_errors import ExpertFailure

#: What is passed on. The rest of OpenAI's fields, and those of other houses, change the price, the model or
#: what is kept of a request (service_tier, models, provider, plugins, modalities, web_search_options,
#: prediction, store), and the key is the operator's.
_OPTIONS = (
    "messages prompt suffix echo max_tokens max_completion_tokens temperature top_p n best_of stop seed user"
    " presence_penalty frequency_penalty logit_bias logprobs top_logprobs response_format reasoning_effort"
    " verbosity tools tool_choice parallel_tool_calls functions function_call"
)
PASSED_ON = frozenset(_OPTIONS.split())
_TOOLS = {"function", "custom"}  # others, such as a web search, are run by the API, for a price


class ApiExpert:
    """One replica of an API expert. Same face as :class:`serve.experts.vllm_expert.VllmExpert`."""

    def __init__(self, spec: ExpertSpec) -> None:
        from openai import AsyncOpenAI

        self._spec = spec
        key = os.environ.get(spec.api_key_env) if spec.api_key_env else None
        # One retry only: a second failure is better answered by the next best expert.
        self._client = AsyncOpenAI(
            base_url=spec.base_url,
            api_key=key or "none",
            timeout=spec.timeout_s,
            max_retries=min(1, spec.max_retries),
        )

    async def answer(self, body: dict[str, Any]) -> dict[str, Any] | ExpertFailure:
        """Answer in one piece: a conversation if the body has ``messages``, else its ``prompt``."""
        answer = await self._create(body, stream=False)
        return answer if isinstance(answer, ExpertFailure) else self._named(answer.to_dict())

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any] | ExpertFailure]:
        """Answer piece by piece; the last piece holds the token counts."""
        from openai import OpenAIError

        pieces = await self._create(body, stream=True)
        if isinstance(pieces, ExpertFailure):
            yield pieces
            return
        try:
            async for piece in pieces:
                yield self._named(piece.to_dict())
        except OpenAIError as error:
            yield ExpertFailure(502, f"the API broke off: {error}")

    async def _create(self, body: dict[str, Any], *, stream: bool) -> Any:
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        fields = with_defaults(self._spec, {name: body[name] for name in body if name in PASSED_ON})
        try:
            kinds = {tool["type"] for tool in fields.get("tools", ())}
        except (TypeError, KeyError):
            return ExpertFailure(400, "tools: give a list of objects with a type")
        if not kinds <= _TOOLS:
            return ExpertFailure(400, f"tools: only of type {' or '.join(sorted(_TOOLS))} here")
        create: Any = (
            self._client.chat.completions.create if "messages" in fields else self._client.completions.create
        )
        content = {name: fields.pop(name) for name in ("messages", "prompt") if name in fields}
        if stream:
            fields["stream_options"] = {"include_usage": True}
        try:
            return await create(model=self._spec.model, **content, stream=stream, extra_body=fields)
        except APITimeoutError:
            return ExpertFailure(504, f"the API did not answer within {self._spec.timeout_s:g} s")
        except APIConnectionError as error:
            return ExpertFailure(502, f"the API cannot be reached: {error}")
        except APIStatusError as error:
            # A key of ours that the API refuses is our trouble, not the caller's.
            status = 502 if error.status_code in {401, 403, 404} else error.status_code
            return ExpertFailure(status, error.message, error.code)
        except (TypeError, ValueError) as error:  # the client could not word the request: nothing was sent
            return ExpertFailure(400, f"the request cannot be passed on: {error}")

    def _named(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"model": self._spec.name}
