"""A chat completion as a message of Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.dialects.blocks import Block, blocks_of
from serve.dialects.messages_request import MessagesRequest

Body = dict[str, Any]

#: Why an answer ended, by the reason with which a chat completion ends.
_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class MessagesReply(BaseModel):
    """Anthropic's message, with our ``leeroo`` object (who answered, and why)."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="id of the message")
    type: Literal["message"] = Field(default="message", description="always message")
    role: Literal["assistant"] = Field(default="assistant", description="always assistant")
    model: str = Field(description="the expert that answered")
    content: list[dict[str, Any]] = Field(description="thoughts, texts and uses of tools, in order")
    stop_reason: str | None = Field(description="why it ended")
    stop_sequence: str | None = Field(description="the text that ended it")
    usage: dict[str, Any] = Field(description="token counts")
    leeroo: dict[str, Any] = Field(description="expert, router version, forecasts, cost, fallbacks, reason")


class TokenCount(BaseModel):
    """The tokens of a request."""

    input_tokens: int = Field(description="likely tokens; of several experts that may answer, the most")


def message_of(asked: MessagesRequest, answer: Mapping[str, Any]) -> Body:
    """Return a whole chat completion as a message."""
    choice = answer["choices"][0]
    blocks = blocks_of(choice["message"])
    frame = message_frame(answer)
    ended = {
        "content": [content_of(block) for block in blocks],
        **stop_of(asked, choice, {block.kind for block in blocks}),
        "usage": usage_of(answer.get("usage")),
    }
    return frame | ended | {"leeroo": answer["leeroo"]}


def message_frame(answer: Mapping[str, Any]) -> Body:
    """Return a message that has not said anything yet; ``answer`` is a completion, or a piece of one."""
    request_id = str((answer.get("leeroo") or {}).get("request_id") or answer.get("id") or "")
    return {
        "id": f"msg_{request_id.removeprefix('req-')}",
        "type": "message",
        "role": "assistant",
        "model": answer.get("model"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def content_of(block: Block) -> Body:
    """Return a block as Anthropic words it."""
    if block.kind == "thoughts":
        return {"type": "thinking", "thinking": block.text, "signature": ""}
    if block.is_call:
        return {"type": "tool_use", "id": block.call_id, "name": block.name, "input": _input(block)}
    return {"type": "text", "text": block.text}


def stop_of(asked: MessagesRequest, choice: Mapping[str, Any], kinds: set[str]) -> Body:
    """Return why an answer ended; ``kinds`` are those of its blocks."""
    reason, at = _REASONS.get(str(choice.get("finish_reason")), "end_turn"), choice.get("stop_reason")
    if "refusal" in kinds:
        reason = "refusal"
    elif reason == "end_turn" and kinds & {"function", "custom"}:
        reason = "tool_use"
    elif reason == "end_turn" and isinstance(at, str) and at in (asked.stop_sequences or ()):
        return {"stop_reason": "stop_sequence", "stop_sequence": at}
    return {"stop_reason": reason, "stop_sequence": None}


def usage_of(told: Mapping[str, Any] | None) -> Body:
    """Return token counts as Anthropic words them: what was cached is not among ``input_tokens``."""
    if told is None:
        return {"input_tokens": 0, "output_tokens": 0}
    read = told.get("prompt_tokens_details") or {}
    cached, written = read.get("cached_tokens", 0), read.get("cache_creation_tokens", 0)
    usage = {
        "input_tokens": max(0, told["prompt_tokens"] - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": told["completion_tokens"],
    }
    return usage | ({"estimated": True} if told.get("estimated") else {})


def _input(block: Block) -> Body:
    """Return the input of a tool, which is an object whatever the model wrote."""
    if block.kind == "custom":
        return {"input": block.text}
    if not block.text.strip():
        return {}
    try:
        given = json.loads(block.text)
    except (ValueError, RecursionError):
        given = None
    return given if isinstance(given, dict) else {"INVALID_JSON": block.text}
