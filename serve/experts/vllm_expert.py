"""An expert that vLLM runs: the asynchronous engine and vLLM's own OpenAI front, inside one replica."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from experts import ExpertSpec, prepare_process, shared_engine_options
from experts.catalogue.prompts import DEFAULT_TEMPLATES, render_prompt
from experts.upstream import Failure, FailureKind, Piece, StreamReader, TokenCounter, ask_of, read_reply
from experts.upstream.dialect import fill_defaults
from serve.experts.client import StreamPiece, WholeAnswer
from serve.experts.limits import MAX_ONGOING, MAX_QUEUED
from serve.transport.alone import is_alone
from serve.transport.local_socket import Address
from serve.transport.local_stream import StreamServer
from serve.transport.own_port import keep_port_on_this_machine

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


class VllmExpert:
    """One replica of a vLLM expert. What its front says is read as an API's reply is."""

    async def __init__(self, spec: ExpertSpec) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        keep_port_on_this_machine()
        prepare_process(spec)
        from starlette.datastructures import State
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.cli_args import FrontendArgs
        from vllm.entrypoints.openai.models.protocol import LoRAModulePath
        from vllm.v1.engine.async_llm import AsyncLLM

        self._spec = spec
        self._local = StreamServer(self.answer, self.stream, at_once=MAX_ONGOING, most_waiting=MAX_QUEUED)
        self._counter = TokenCounter(spec)
        # An adapter is asked by the expert's name; its base, which nobody asks here, has another.
        base_name = f"base of {spec.name}" if spec.lora else spec.name
        engine_args = AsyncEngineArgs(**shared_engine_options([spec]), served_model_name=[base_name])
        self._engine = AsyncLLM.from_engine_args(engine_args)
        tokenizer: Any = self._engine.get_tokenizer()
        self._has_chat_template = bool(getattr(tokenizer, "chat_template", None))
        front = FrontendArgs()
        if spec.lora:
            front.lora_modules = [LoRAModulePath(spec.name, spec.lora, base_name)]
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

    async def answer(self, body: dict[str, Any], timeout_s: float) -> WholeAnswer | Failure:
        """Answer in one piece: a conversation if the body has ``messages``, else its ``prompt``."""
        ask = ask_of(self._spec, fill_defaults(self._spec, body))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._create(ask.body, stream=False)
        except TimeoutError:
            return _too_slow(timeout_s)
        if isinstance(answer, Failure):
            return answer
        is_error = _is_error(answer)
        status = int(answer.error.code) if is_error else 200
        reply = read_reply(ask, status, {}, answer.model_dump_json().encode(), self._counter)
        return reply if isinstance(reply, Failure) else WholeAnswer(reply.body, reply.usage)

    async def stream(
        self, body: dict[str, Any], timeout_s: float
    ) -> AsyncGenerator[StreamPiece | Failure, None]:
        """Answer piece by piece; a last piece without a body holds the final token counts."""
        ask = ask_of(self._spec, fill_defaults(self._spec, body))
        reader = StreamReader(ask, self._counter)
        events = await self._create(ask.body, stream=True)
        if isinstance(events, Failure):
            yield events
            return
        if _is_error(events):
            status = int(events.error.code)
            refused = read_reply(ask, status, {}, events.model_dump_json().encode(), self._counter)
            yield refused if isinstance(refused, Failure) else _broken("it refused the request")
            return
        async for event in events:
            for piece in reader.feed(event.encode()):
                yield _worded(piece, reader)
        for piece in reader.end():
            yield _worded(piece, reader)
        yield StreamPiece({}, False, reader.usage)

    async def address(self) -> Address | None:
        """Return where callers on this node reach it; None while it is not the only replica."""
        return await self._local.address() if await is_alone() else None

    async def check_health(self) -> None:
        """Raise when the engine is dead, upon which Ray Serve starts another replica."""
        await self._engine.check_health()

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        """Return what Ray Serve awaits before it ends the replica: calls by the socket it does not count."""
        local: StreamServer | None = getattr(self, "_local", None)  # it may not have come that far
        return None if local is None else local.leave()

    async def _create(self, body: dict[str, Any], *, stream: bool) -> Any:
        """Return what vLLM's front answers, or a failure where it cannot word the request."""
        from pydantic import ValidationError
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.exceptions import VLLMClientError

        fields = body | {"model": self._spec.name, "stream": stream}
        if stream:
            fields["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        is_chat = "messages" in fields
        if is_chat and not self._has_chat_template:
            fields["add_special_tokens"] = True
            fields.setdefault("stop", list(self._spec.stop))
        try:
            if is_chat:
                return await self._create_chat(ChatCompletionRequest.model_validate(fields))
            return await self._create_text(CompletionRequest.model_validate(fields))
        except ValidationError as error:
            first = error.errors()[0]
            param = ".".join(map(str, first["loc"]))
            return Failure(FailureKind.BAD_REQUEST, f"{param}: {first['msg']}", param=param or None)
        except (ValueError, TypeError, VLLMClientError) as error:
            error_body = json.dumps({"error": {"message": str(error)}}).encode()
            ask = ask_of(self._spec, body)
            refused = read_reply(ask, 400, {}, error_body, self._counter)
            return refused if isinstance(refused, Failure) else _broken("it refused the request")


def _is_error(answer: Any) -> bool:
    from vllm.entrypoints.serve.engine.protocol import ErrorResponse

    return isinstance(answer, ErrorResponse)


def _worded(piece: Piece | Failure, reader: StreamReader) -> StreamPiece | Failure:
    return piece if isinstance(piece, Failure) else StreamPiece(piece.body, piece.shows, reader.usage)


def _too_slow(timeout_s: float) -> Failure:
    return Failure(FailureKind.TIMEOUT, f"it did not answer within {timeout_s:.3g} s")


def _broken(message: str) -> Failure:
    return Failure(FailureKind.SERVER_ERROR, message)
