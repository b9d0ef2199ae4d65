"""An expert that vLLM runs: the asynchronous engine and vLLM's own OpenAI front, inside one replica."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from experts import ExpertSpec, backend_env, engine_options
from experts.catalogue.prompts import DEFAULT_TEMPLATES, render_prompt
from serve.wire.api_errors import ExpertFailure

_MARK = "\x00"


def conversation_template(prompt: str) -> str:
    """Return a Jinja chat template that words each user's turn by the catalogue's prompt template.

    For base models, which have no chat template: the conversation becomes a text to go on with.

    >>> conversation_template("Question: {question}\\nAnswer:").count("Question: ")
    1
    """
    before, _, after = render_prompt(prompt, _MARK).partition(_MARK)
    return (
        "{%- for message in messages -%}"
        "{%- if message.role in ('system', 'developer') -%}{{ message.content + '\\n\\n' }}"
        "{%- elif message.role == 'assistant' -%}{{ ' ' + message.content + '\\n\\n' }}"
        f"{{%- else -%}}{{{{ {json.dumps(before)} + message.content + {json.dumps(after)} }}}}"
        "{%- endif -%}{%- endfor -%}"
    )


def with_defaults(spec: ExpertSpec, body: dict[str, Any]) -> dict[str, Any]:
    """Fill in the catalogue's sampling where the request has none: what the forecasts rest on."""
    filled: dict[str, Any] = {"temperature": spec.temperature}
    if body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
        filled["max_tokens"] = spec.max_tokens
    return filled | {name: value for name, value in body.items() if value is not None}


class VllmExpert:
    """One replica of a vLLM expert. Answers are dictionaries in OpenAI's shape, or an ``ExpertFailure``."""

    async def __init__(self, spec: ExpertSpec) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        os.environ.update(backend_env(spec))
        from starlette.datastructures import State
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.cli_args import FrontendArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._spec = spec
        engine_args = AsyncEngineArgs(**engine_options(spec), served_model_name=[spec.name])
        self._engine = AsyncLLM.from_engine_args(engine_args)
        tokenizer: Any = self._engine.get_tokenizer()
        self._has_chat_template = bool(getattr(tokenizer, "chat_template", None))
        front = FrontendArgs()
        if not self._has_chat_template:
            front.chat_template = conversation_template(spec.prompt or DEFAULT_TEMPLATES["free"])
        front.enable_auto_tool_choice = spec.tool_parser is not None
        front.tool_call_parser = spec.tool_parser
        settings = argparse.Namespace(**(vars(front) | vars(engine_args)))
        state = State()
        tasks = await self._engine.get_supported_tasks()
        await init_app_state(self._engine, state, settings, tasks)
        self._create_chat = state.openai_serving_chat.create_chat_completion
        self._create_text = state.openai_serving_completion.create_completion

    async def answer(self, body: dict[str, Any]) -> dict[str, Any] | ExpertFailure:
        """Answer in one piece: a conversation if the body has ``messages``, else its ``prompt``."""
        answer = await self._create(body, stream=False)
        return answer if isinstance(answer, ExpertFailure) else answer.model_dump(mode="json")

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any] | ExpertFailure]:
        """Answer piece by piece; every piece holds the token counts so far."""
        pieces = await self._create(body, stream=True)
        if isinstance(pieces, ExpertFailure):
            yield pieces
            return
        async for event in pieces:
            for piece in _read_event(event):
                yield piece

    async def check_health(self) -> None:
        """Raise when the engine is dead, upon which Ray Serve starts another replica."""
        await self._engine.check_health()

    async def _create(self, body: dict[str, Any], *, stream: bool) -> Any:
        from pydantic import ValidationError
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.exceptions import VLLMClientError

        fields = with_defaults(self._spec, body) | {"model": self._spec.name, "stream": stream}
        if stream:
            fields["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        is_chat = "messages" in fields
        if is_chat and not self._has_chat_template:
            fields["add_special_tokens"] = True
            fields.setdefault("stop", list(self._spec.stop))
        try:
            if is_chat:
                answer = await self._create_chat(ChatCompletionRequest.model_validate(fields))
            else:
                answer = await self._create_text(CompletionRequest.model_validate(fields))
        except ValidationError as error:
            first = error.errors()[0]
            return ExpertFailure(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        except (ValueError, TypeError, VLLMClientError) as error:
            return _refusal(400, str(error))
        if isinstance(answer, ErrorResponse):
            return _refusal(answer.error.code, answer.error.message)
        return answer


def _refusal(status: int, message: str) -> ExpertFailure:
    too_long = status == 400 and "context length" in message
    return ExpertFailure(status, message, "context_length_exceeded" if too_long else None)


def _read_event(event: str) -> list[dict[str, Any] | ExpertFailure]:
    """Return the pieces in some server-sent events, without the closing ``[DONE]``."""
    pieces: list[dict[str, Any] | ExpertFailure] = []
    for line in event.splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        piece = json.loads(data)
        if error := piece.get("error"):
            pieces.append(ExpertFailure(int(error.get("code") or 500), str(error.get("message"))))
        else:
            pieces.append(piece)
    return pieces
