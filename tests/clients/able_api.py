"""An expert's API that does what is asked in OpenAI's chat dialect: text, thoughts, calls of tools, JSON.

What it says follows from the request alone. Of a tool it makes a call with arguments that fit the schema, and
repeats what the tool said; of a schema it makes the smallest value that fits.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.scripted_api import ChatHandler

TEXT = "Lima is the capital of Peru."
THOUGHT = "The user asks for a city."
#: How a request says which tool to call with what.
_TOLD = re.compile(r"use the tool (\w+) with (\{.*\})")
USAGE = {"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49}


def sample_of(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """Return a small value that fits a schema."""
    root = schema if root is None else root
    if "$ref" in schema:
        found: Any = root
        for key in schema["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        return sample_of(found, root)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return sample_of(schema[name][0], root)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if "default" in schema:
        return schema["default"]
    kind = schema.get("type", "object")
    if kind == "object":
        wanted = schema.get("required", schema.get("properties", {}))
        return {name: sample_of(schema["properties"][name], root) for name in wanted}
    if kind == "array":
        return [sample_of(schema["items"], root)] * max(1, schema.get("minItems", 1))
    return {"string": "Lima", "integer": 7, "number": 7.5, "boolean": True, "null": None}[kind]


def answer_of(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a message, and why it ends."""
    last, tools = body["messages"][-1], body.get("tools") or []
    text = _text(last["content"])
    choice = body.get("tool_choice", "auto")
    message: dict[str, Any] = {"role": "assistant", "content": TEXT}
    if "think" in text:
        message["reasoning_content"] = THOUGHT
    if last["role"] == "tool":
        return {**message, "content": f"The tool said: {text}"}, "stop"
    if tools and choice != "none":
        functions = [tool["function"] for tool in tools if tool["type"] == "function"]
        named = choice["function"]["name"] if isinstance(choice, dict) else None
        used = [function for function in functions if named in (None, function["name"])]
        used = used if "both" in text else used[:1]
        calls = [_call(position, function) for position, function in enumerate(used)]
        if told := _TOLD.search(text):
            inner = {"name": told[1], "arguments": told[2]}
            calls = [{"id": "call_0", "type": "function", "function": inner}]
        return {**message, "content": None, "tool_calls": calls}, "tool_calls"
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        said = json.dumps(sample_of(form["json_schema"]["schema"]))
        return {**message, "content": said}, "stop"
    return message, "length" if body.get("max_tokens") == 1 else "stop"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or ())


def _call(position: int, function: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(sample_of(function.get("parameters") or {"type": "object"}))
    inner = {"name": function["name"], "arguments": arguments}
    return {"id": f"call_{position}", "type": "function", "function": inner}


def deltas_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pieces of a message, as a stream has them."""
    pieces: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for name in ("reasoning_content", "content"):
        pieces += [{name: word} for word in _words(message.get(name) or "")]
    for position, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        begun = {**call, "index": position, "function": {**function, "arguments": ""}}
        pieces.append({"tool_calls": [begun]})
        for word in _words(function["arguments"]):
            pieces.append({"tool_calls": [{"index": position, "function": {"arguments": word}}]})
    return pieces


def vectors_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return a vector for each text: its length, and a half."""
    given = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 0.5]}
        for index, text in enumerate(given)
    ]
    usage = {"prompt_tokens": 8 * len(data), "total_tokens": 8 * len(data)}
    return {"object": "list", "data": data[::-1], "model": body["model"], "usage": usage}


def ranks_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return a score for each document: the longer, the better."""
    results = [
        {"index": index, "relevance_score": len(document) / 100}
        for index, document in enumerate(body["documents"])
    ]
    return {"id": "r", "results": results, "usage": {"total_tokens": 30}}


def _words(text: str) -> list[str]:
    return [text[start : start + 5] for start in range(0, len(text), 5)]


class AbleHandler(ChatHandler):
    """Serves it."""

    bodies: list[dict[str, Any]] = []  # noqa: RUF012 - what was asked, for the test to look at

    def act(self, body: dict[str, Any]) -> None:
        self.bodies.append(body)
        if "documents" in body or "input" in body:
            self.reply(ranks_of(body) if "documents" in body else vectors_of(body))
            return
        message, finish = answer_of(body)
        frame = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            self.reply({**frame, "object": "chat.completion", "choices": [choice], "usage": USAGE})
            return
        frame["object"] = "chat.completion.chunk"
        pieces = [(delta, None) for delta in deltas_of(message)] + [({}, finish)]
        told = [
            {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
            for delta, end in pieces
        ]
        told.append({**frame, "choices": [], "usage": USAGE})
        lines = [f"data: {json.dumps(piece)}\n\n" for piece in told] + ["data: [DONE]\n\n"]
        self.send(200, "".join(lines), {"content-type": "text/event-stream"})
