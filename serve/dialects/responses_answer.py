"""A chat completion as a response of OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.dialects.blocks import Block, blocks_of
from serve.dialects.responses_request import ResponsesRequest, TextFormat
from serve.dialects.responses_tools import names_in

Body = dict[str, Any]

#: Why an answer is not whole, by the reason with which a chat completion ends.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_PREFIXES = {"thoughts": "rs", "text": "msg", "refusal": "msg", "function": "fc", "custom": "ctc"}


class ResponsesReply(BaseModel):
    """OpenAI's response, with our ``leeroo`` object (who answered, and why)."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="id of the response, which is not kept")
    object: Literal["response"] = Field(default="response", description="always response")
    created_at: int = Field(description="seconds since 1970")
    status: Literal["in_progress", "completed", "incomplete", "failed"] = Field(description="how it ended")
    model: str = Field(description="the expert that answered")
    output: list[dict[str, Any]] = Field(description="thoughts, messages and calls of tools, in order")
    usage: dict[str, Any] | None = Field(None, description="token counts")
    leeroo: dict[str, Any] = Field(description="expert, router version, forecasts, cost, fallbacks, reason")


def response_of(asked: ResponsesRequest, answer: Mapping[str, Any]) -> Body:
    """Return a whole chat completion as a response."""
    choice = answer["choices"][0]
    blocks = blocks_of(choice["message"])
    frame = response_frame(asked, answer)
    names = names_in(asked.tools or ())
    items = [item_of(block, item_id(frame["id"], index, block), names) for index, block in enumerate(blocks)]
    logprobs = (choice.get("logprobs") or {}).get("content") or []
    if len([block for block in blocks if block.kind == "text"]) == 1:
        for item, block in zip(items, blocks, strict=True):
            if block.kind == "text":
                item["content"][0]["logprobs"] = logprobs
    ended = end_of(frame, items, choice.get("finish_reason"), answer.get("usage"))
    return ended | {"leeroo": answer["leeroo"]}


def response_frame(asked: ResponsesRequest, answer: Mapping[str, Any]) -> Body:
    """Return a response that has not said anything yet; ``answer`` is a completion, or a piece of one."""
    request_id = str((answer.get("leeroo") or {}).get("request_id") or answer.get("id") or "")
    reasoning, text = asked.reasoning, asked.text
    form = TextFormat(type="text") if text is None or text.format is None else text.format
    return {
        "id": f"resp_{request_id.removeprefix('req-')}",
        "object": "response",
        "created_at": answer.get("created"),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": asked.metadata or {},
        "model": answer.get("model"),
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None if reasoning is None else reasoning.effort, "summary": None},
        "store": False,
        "temperature": asked.temperature,
        "text": {"format": form.model_dump(by_alias=True, exclude_none=True)},
        "tool_choice": asked.tool_choice or "auto",
        "tools": asked.tools or [],
        "top_p": asked.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": asked.user,
    }


def end_of(frame: Body, items: Sequence[Body], finish: str | None, usage: Mapping[str, Any] | None) -> Body:
    """Return a response with its end: the items, whether it is whole, and the tokens."""
    why = _INCOMPLETE.get(finish or "")
    output = list(items)
    if why and output and "status" in output[-1]:
        output[-1] = {**output[-1], "status": "incomplete"}
    return frame | {
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "output": output,
        "usage": None if usage is None else _usage(usage),
    }


def item_id(response_id: str, index: int, block: Block) -> str:
    """Return the id of an item of a response."""
    return f"{_PREFIXES[block.kind]}_{response_id.removeprefix('resp_')}_{index}"


def item_of(block: Block, its_id: str, names: Mapping[str, Body], status: str = "completed") -> Body:
    """Return a block as an item of a response; one in progress has nothing in it yet.

    ``names`` are those of :func:`~serve.dialects.responses_tools.names_in`.
    """
    is_begun = status == "in_progress"
    name = names.get(block.name, {"name": block.name})
    if block.kind == "thoughts":
        said = [] if is_begun else [part_of(block)]
        return {"type": "reasoning", "id": its_id, "summary": [], "content": said, "status": status}
    if block.kind == "function":
        told = {"call_id": block.call_id, **name, "arguments": block.text, "status": status}
        return {"type": "function_call", "id": its_id, **told}
    if block.kind == "custom":
        told = {"call_id": block.call_id, **name, "input": block.text}
        return {"type": "custom_tool_call", "id": its_id, **told}
    content = [] if is_begun else [part_of(block)]
    return {"type": "message", "id": its_id, "status": status, "role": "assistant", "content": content}


def part_of(block: Block) -> Body:
    """Return the one part of an item that is no call."""
    if block.kind == "thoughts":
        return {"type": "reasoning_text", "text": block.text}
    if block.kind == "refusal":
        return {"type": "refusal", "refusal": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}


def _usage(told: Mapping[str, Any]) -> Body:
    read, written = told.get("prompt_tokens_details") or {}, told.get("completion_tokens_details") or {}
    usage = {
        "input_tokens": told["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": read.get("cached_tokens", 0),
            "cache_write_tokens": read.get("cache_creation_tokens", 0),
        },
        "output_tokens": told["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning_tokens", 0)},
        "total_tokens": told["total_tokens"],
    }
    return usage | ({"estimated": True} if told.get("estimated") else {})
