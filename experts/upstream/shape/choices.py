"""The choices of a whole reply, in OpenAI's shape whatever came."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from experts.upstream.counting import characters_of
from experts.upstream.shape.finishes import FAILED_FINISHES, FINISHES
from experts.upstream.shape.json_text import Unbounded

#: OpenAI's own value for a token that is next to impossible.
_LEAST_LOGPROB = -9999.0
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True)
class Choice:
    """One answer of a reply.

    Attributes:
        body: as a client sees it, without its index.
        written: the characters in it (:func:`~experts.upstream.counting.characters_of`).
        shows: whether it holds anything: text, thoughts, a refusal, a call of a tool, a sound.
        error: what failed, where it failed: the object beside it, or the reason to end.
    """

    body: dict[str, Any]
    written: int
    shows: bool
    error: Any = None


def read_choices(raw: Any, *, is_chat: bool) -> list[Choice]:
    """Return the choices that are any, by their indices where these can be, else in the order they came."""
    entries = [entry for entry in raw if isinstance(entry, dict)] if isinstance(raw, list) else []
    indices = [index_of(entry) for entry in entries]
    if None not in indices and len(set(indices)) == len(indices):
        entries = [
            entry for _, entry in sorted(zip(indices, entries, strict=True), key=lambda pair: pair[0] or 0)
        ]
    return [_read_choice(entry, is_chat) for entry in entries]


def _read_choice(entry: dict[str, Any], is_chat: bool) -> Choice:
    message = entry.get("message")
    if message is None:
        message = entry.get("delta")
    if not isinstance(message, dict):
        message = {"content": message if message is not None else entry.get("text")}
    read = read_message(message)
    calls = _whole_calls(message.get("tool_calls"))
    written = written_characters(read) + sum(map(characters_of_call, calls))
    finish, error = read_finish(entry)
    if is_chat:
        read = {"role": "assistant", "content": None} | read | ({"tool_calls": calls} if calls else {})
        body: dict[str, Any] = {"message": read}
    else:
        text = entry.get("text")
        body = {"text": text if isinstance(text, str) else read.get("content") or ""}
        written = max(written, characters_of(body["text"]))
    body["finish_reason"] = finish or ("tool_calls" if calls else "stop")
    body["logprobs"] = read_logprobs(entry.get("logprobs"))
    return Choice(body, written, written > 0 or _has_sound(message), error)


def index_of(entry: dict[str, Any]) -> int | None:
    """Return the index of a choice or a tool call, or None where it has none that can be."""
    index = entry.get("index")
    if (
        isinstance(index, bool)
        or not isinstance(index, int | float)
        or index != index // 1
        or not 0 <= index < 1e6
    ):
        return None
    return int(index)


def read_finish(entry: dict[str, Any]) -> tuple[str | None, Any]:
    """Return why a choice ended, in OpenAI's words, and what failed; None twice where it goes on."""
    told, error = entry.get("finish_reason"), entry.get("error")
    if not isinstance(told, str) or isinstance(told, Unbounded) or not told:
        told = None
    if told is not None and told.lower() in FAILED_FINISHES:
        return told, error or {"message": f"it ended with {told!r}", "code": 502}
    if error:
        return told, error
    return (None if told is None else FINISHES.get(told.lower(), "stop")), None


def read_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return what a message, or a piece of one, says: content, thoughts, a refusal, a function call."""
    content, thoughts = flatten(message.get("content"))
    read: dict[str, Any] = {}
    if "content" in message:
        read["content"] = content
    for name in _THOUGHTS:
        if isinstance(told := message.get(name), str) and told:
            read[name] = told
    if thoughts and not any(name in read for name in _THOUGHTS):
        read["reasoning_content"] = thoughts
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        read["refusal"] = refusal
    if isinstance(call := message.get("function_call"), dict):
        read["function_call"] = {
            "name": as_text(call.get("name")),
            "arguments": _arguments(call.get("arguments")),
        }
    for name in ("audio", "annotations", "reasoning_details", "images", "citations"):
        if isinstance(message.get(name), dict | list) and message[name]:
            read[name] = message[name]
    return read


def flatten(content: Any) -> tuple[str | None, str]:
    """Return the text of a content, which may be a list of parts, and the thoughts among the parts."""
    if content is None or isinstance(content, Unbounded | bool):
        return None, ""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, int | float):
        return str(content), ""
    texts, thoughts = [], []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str) and not isinstance(part, Unbounded):
            texts.append(part)
        elif isinstance(part, dict):
            if part.get("type") in ("thinking", "reasoning"):
                inner = part.get("thinking", part.get("text"))
                thoughts.append(flatten(inner)[0] or "")
            elif isinstance(text := part.get("text", part.get("content")), str):
                texts.append(text)
    return ("".join(texts) if texts else None), "".join(thoughts)


def written_characters(read: dict[str, Any]) -> int:
    """Return the characters of what :func:`read_message` returned; thoughts told twice count once."""
    thoughts = max(characters_of(as_text(read.get(name))) for name in _THOUGHTS)
    details = read.get("reasoning_details")
    parts = [part for part in details if isinstance(part, dict)] if isinstance(details, list) else []
    told = (as_text(part.get(name)) for part in parts for name in ("text", "summary", "data"))
    thoughts = max(thoughts, sum(map(characters_of, told)))
    call = read.get("function_call") or {}
    said = [
        read.get("content") or "",
        read.get("refusal") or "",
        call.get("name", ""),
        call.get("arguments", ""),
    ]
    return thoughts + sum(map(characters_of, said))


def written_in(choice: dict[str, Any], part: str) -> int:
    """Return the characters of a choice in OpenAI's shape: of its ``message``, ``delta`` or text."""
    said = choice.get(part)
    if not isinstance(said, dict):
        return characters_of(as_text(choice.get("text")))
    calls = [call for call in said.get("tool_calls") or () if isinstance(call, dict)]
    return written_characters(said) + sum(map(characters_of_call, calls))


def characters_of_call(call: dict[str, Any]) -> int:
    """Return the characters of a tool call, or of a piece of one."""
    _, _, name, arguments = read_call(call)
    return characters_of(name) + characters_of(arguments)


def read_logprobs(told: Any) -> dict[str, Any] | None:
    """Return log-probabilities with numbers in them: what is none, or no number at all, becomes -9999."""
    return _finite(told, 0) if isinstance(told, dict) else None


def as_text(value: Any) -> str:
    """Return a text, or an empty one for what is none."""
    return value if isinstance(value, str) and not isinstance(value, Unbounded) else ""


def read_call(told: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return a tool call's id, type, name and arguments (or a piece of each; empty where it has none)."""
    kind = as_text(told.get("type")) or ("custom" if "custom" in told else "function")
    inner = told.get(kind) if isinstance(told.get(kind), dict) else told.get("function")
    inner = inner if isinstance(inner, dict) else {}
    arguments = inner.get("arguments", inner.get("input"))
    return as_text(told.get("id")), kind, as_text(inner.get("name")), _arguments(arguments)


def word_call(call_id: str, kind: str, name: str, arguments: str) -> dict[str, Any]:
    """Return a tool call in OpenAI's shape."""
    inner = {"name": name, "input" if kind == "custom" else "arguments": arguments}
    return {"id": call_id, "type": kind, kind: inner}


def _whole_calls(told: Any) -> list[dict[str, Any]]:
    entries = [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []
    indices = [index_of(entry) for entry in entries]
    if None not in indices and len(set(indices)) == len(indices):
        entries = [
            entry for _, entry in sorted(zip(indices, entries, strict=True), key=lambda pair: pair[0] or 0)
        ]
    calls: list[dict[str, Any]] = []
    for entry in entries:
        call_id, kind, name, arguments = read_call(entry)
        if name:
            calls.append(word_call(call_id or f"call_{len(calls)}", kind, name, arguments))
    return calls


def _arguments(told: Any) -> str:
    """Return a call's arguments as the text they should be: some vendors send the object itself."""
    if isinstance(told, str):
        return as_text(told)
    return "" if told is None else json.dumps(told, ensure_ascii=False, default=str)


def _has_sound(message: dict[str, Any]) -> bool:
    return any(isinstance(message.get(name), dict | list) and message[name] for name in ("audio", "images"))


def _finite(value: Any, depth: int) -> Any:
    if isinstance(value, dict) and depth < 8:
        read = {name: _finite(inner, depth + 1) for name, inner in value.items()}
        if "logprob" in read:
            number = read["logprob"]
            is_number = (
                isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
            )
            read["logprob"] = number if is_number else _LEAST_LOGPROB
        return read
    if isinstance(value, list) and depth < 8:
        return [
            _LEAST_LOGPROB if isinstance(inner, Unbounded) else _finite(inner, depth + 1) for inner in value
        ]
    return _LEAST_LOGPROB if isinstance(value, Unbounded) else value
