"""Sends requests to APIs of other dialects, in litellm's words."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from experts.catalogue.dialect import MAY_BE_DROPPED
from experts.catalogue.spec import ExpertSpec
from experts.upstream.connection import Clock
from experts.upstream.pool import ConnectionPool
from experts.upstream.request import Ask
from experts.upstream.translated.library import load_litellm, provider_of
from experts.upstream.translated.reply import TranslatedReply, error_in, with_hours
from experts.upstream.translated.wire import Wire, through

#: Options of a chat that a provider may not have, and the values that ask for nothing.
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "functions": ([],),
    "function_call": (),
    "tools": ([],),
    "tool_choice": (),
    "response_format": (),
    "stop": ([],),
    **dict.fromkeys(sorted(MAY_BE_DROPPED - {"stream_options"}), ()),
}
#: What litellm puts behind its own words: the request, and where in its code it was.
_ECHO = re.compile(r"\bReceived Messages=|\bTraceback \(most")
_OF_THE_WIRE = ("client", "num_retries", "max_retries", "fallbacks", "api_base", "api_key", "timeout")
#: Fields of a turn that are passed on.
_OF_A_TURN = ("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "cache_control")


class LiteLLMPost:
    """Has litellm word a request, sends it over our own connections, and gives the reply in OpenAI's words.

    See :class:`experts.upstream.connection.Post`. A reply of 300 or above, and one that litellm cannot read,
    are handed on as they came: what they mean is judged where every expert's are. Nothing is tried again and
    nothing is fetched: pictures and files have to be in the request itself.

    Args:
        spec: the expert; its model is named as litellm does, ``provider/model``.
        key: of its API; empty where the provider finds credentials by itself, as AWS's and Google's do.
    """

    def __init__(self, spec: ExpertSpec, key: str) -> None:
        self._spec, self._key = spec, key
        self._litellm = load_litellm()
        self._provider = provider_of(spec)
        model = spec.model.partition("/")[2]
        told = self._litellm.get_supported_openai_params(model=model, custom_llm_provider=self._provider)
        self._takes = frozenset(told or ())

    async def __call__(
        self, pool: ConnectionPool, ask: Ask, fields: dict[str, Any], headers: dict[str, str], clock: Clock
    ) -> TranslatedReply:
        """Send a request; returns a whole reply that was read, or a stream that has begun."""
        streamed = bool(fields.get("stream"))
        wire = Wire(pool, clock, streamed=streamed)
        if not ask.is_chat:
            return _refuse("ask it in a conversation (messages), not with a prompt", wire)
        fields = copy.deepcopy({name: value for name, value in fields.items() if name not in _OF_THE_WIRE})
        for name, neutral in _OPTIONS.items():
            if name in fields and name not in self._takes:
                value = fields.pop(name)
                if value not in neutral and name not in MAY_BE_DROPPED:
                    return _refuse(f"Unsupported parameter: '{name}'", wire, name)
        if not all(map(_is_plain, fields.get("tools") or ())):
            return _refuse("tools: only functions that the client runs, in OpenAI's words", wire, "tools")
        if messages := fields.get("messages"):
            fields["messages"] = [_said(message) for message in messages]
        if any(_names_elsewhere(part) for part in _parts(fields)):
            return _refuse("messages: put pictures and files into the request, as data: addresses", wire)
        try:
            answer = await self._litellm.acompletion(
                **fields,
                api_key=self._key or None,
                api_base=self._base(),
                extra_headers=headers,
                timeout=clock.limit_s,
                client=self._client(wire, fields),
                num_retries=0,
                max_retries=0,
            )
            if streamed:
                return await TranslatedReply.stream(answer, wire)
        except Exception as error:
            if wire.error is not None:
                raise wire.error  # noqa: B904  # with the cause that it has, by which it is read
            if wire.status is not None:
                body = wire.body or json.dumps(error_in(wire.tail) or "").encode()
                return TranslatedReply.whole(wire.status, wire.headers, body, wire)
            return _refuse_unsent(error, wire)
        except BaseException:
            wire.close()
            raise
        body = answer.model_dump()
        if isinstance(usage := body.get("usage"), dict):
            body["usage"] = with_hours(usage)
        return TranslatedReply.whole(200, wire.headers, json.dumps(body).encode(), wire)

    def _base(self) -> str | None:
        """Return the address as litellm wants it: of Anthropic's without the version, which it adds."""
        base = self._spec.base_url
        if base is None:
            return None
        base = base.rstrip("/")
        return base.removesuffix("/v1") if self._provider == "anthropic" else base

    def _client(self, wire: Wire, fields: dict[str, Any]) -> Any:
        if self._provider != "azure":
            from experts.upstream.translated.handler import WireHandler

            return WireHandler(wire)
        from openai import AsyncAzureOpenAI

        return AsyncAzureOpenAI(
            azure_endpoint=self._base() or "",
            api_key=self._key,
            api_version=fields.get("api_version") or self._litellm.AZURE_DEFAULT_API_VERSION,
            http_client=through(wire),
            max_retries=0,
        )


def _said(message: Any) -> Any:
    """Return a turn with OpenAI's fields alone: of others litellm fetches what they name."""
    if not isinstance(message, dict):
        return message
    return {name: value for name, value in message.items() if name in _OF_A_TURN}


def _is_plain(tool: Any) -> bool:
    """Tell whether a tool is what it says: beside that, litellm reads the vendors' own, which cost."""
    return isinstance(tool, dict) and set(tool) <= {"type", tool.get("type"), "cache_control"}


def _parts(fields: dict[str, Any]) -> Iterator[Any]:
    for message in fields.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                is_text = part.get("type") == "text"
                yield {name: value for name, value in part.items() if not (is_text and name == "text")}


def _names_elsewhere(part: Any, depth: int = 6) -> bool:
    """Tell whether a picture or a file is an address: litellm would fetch it, from wherever it runs."""
    if isinstance(part, str):
        return "://" in part and not part.startswith("data:")
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return depth < 0 or any(_names_elsewhere(one, depth - 1) for one in inner)


def _refuse(message: str, wire: Wire, param: str | None = None, status: int = 400) -> TranslatedReply:
    content = {"error": {"message": message, "type": "invalid_request_error", "param": param}}
    return TranslatedReply.whole(status, {}, json.dumps(content).encode(), wire)


def _refuse_unsent(error: Exception, wire: Wire) -> TranslatedReply:
    """Return what it is that litellm could not word a request: the request's fault, or the operator's."""
    message = _ECHO.split(str(error))[0].strip().removeprefix("litellm.")
    is_of_operator = getattr(error, "status_code", 0) in (401, 403) or "credential" in message.lower()
    return _refuse(message, wire, status=401 if is_of_operator else 400)
