"""A stream that came where a whole reply was asked for, as the answer that it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from experts.upstream.failure import Failure
from experts.upstream.reading import Answer
from experts.upstream.shape.json_text import clean
from experts.upstream.stream import StreamReader

_STARTS = (b"data:", b"event:", b": ")
_JOINED = ("content", "reasoning_content", "reasoning", "thinking", "refusal")


def is_stream(kind: str, body: bytes) -> bool:
    """Tell whether a reply is a stream, by its content type or its first bytes."""
    return "text/event-stream" in kind.lower() or body.lstrip(b"\xef\xbb\xbf\r\n ").startswith(_STARTS)


def read_unasked(reader: StreamReader, body: bytes, secrets: Iterable[str] = ()) -> Answer | Failure:
    """Return the answer that the pieces of a stream make together, or the failure in them.

    A secret is hidden in the whole as well: it may have come in two pieces.
    """
    choices: dict[int, dict[str, Any]] = {}
    frame: dict[str, Any] = {}
    for item in (*reader.feed(body), *reader.end()):
        if isinstance(item, Failure):
            return item
        frame = frame or item.body
        for piece in item.body["choices"]:
            _add(choices.setdefault(piece["index"], {"index": piece["index"]}), piece)
    for choice in choices.values():
        for call in choice.get("message", {}).get("tool_calls", ()):
            del call["index"]
    is_chat = frame["object"] == "chat.completion.chunk"
    whole = {
        **{name: frame[name] for name in ("id", "created", "model")},
        "object": "chat.completion" if is_chat else "text_completion",
        "choices": [choices[index] for index in sorted(choices)],
        "usage": reader.usage.to_openai(),
    }
    return Answer(clean(whole, hide=tuple(secrets)), reader.usage)


def _add(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    choice["finish_reason"] = piece.get("finish_reason") or choice.get("finish_reason")
    choice["logprobs"] = piece.get("logprobs") or choice.get("logprobs")
    if "delta" not in piece:
        choice["text"] = choice.get("text", "") + piece["text"]
        return
    message = choice.setdefault("message", {"role": "assistant", "content": None})
    for name, value in piece["delta"].items():
        if name in _JOINED and isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif name == "tool_calls":
            for call in value:
                _add_call(message.setdefault("tool_calls", []), call)
        elif name == "function_call":
            _join(message.setdefault("function_call", {}), value)
        elif name not in _JOINED:
            message[name] = value


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    if "id" in piece:
        calls.append(dict(piece))
        return
    call = next(call for call in calls if call["index"] == piece["index"])
    _join(call[call["type"]], piece.get(call["type"], {}))


def _join(whole: dict[str, Any], part: dict[str, Any]) -> None:
    for name, value in part.items():
        whole[name] = whole.get(name, "") + value
