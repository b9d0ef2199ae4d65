"""Generated replies and streams of upstreams: orderly ones, damaged in their values, shape or bytes."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from hostile_upstream import Plan
from hypothesis import strategies as st

_ANSWER: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "It is so."},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15},
}
_CALLS = [{"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
_CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def _chunk(delta: Any, finish: Any = None) -> dict[str, Any]:
    return {**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


_EVENTS: list[dict[str, Any]] = [
    _chunk({"role": "assistant", "content": ""}),
    _chunk({"content": "It "}),
    _chunk({"content": "is "}),
    _chunk({"tool_calls": _CALLS}),
    _chunk({"content": "so."}),
    _chunk({}, "stop"),
    {**_CHUNK, "choices": [], "usage": _ANSWER["usage"]},
]

#: Values that no schema foresees, one of each kind that was met.
HOSTILE_VALUES: list[Any] = [
    *(None, True, -1, 0, 10**30, 1e308, math.nan, math.inf, -math.inf, "", "text", "\ud800", "NaN", "12"),
    *([], {}, [None], [[]], {"error": {"message": "no"}}, [{"type": "text", "text": "part"}], "\x00\x1b[0m"),
]

_STATUSES = [200] * 12 + [400, 401, 402, 403, 404, 408, 409, 410, 413, 422, 425, 429, 451, 500, 502, 503, 529]
_ERRORS: list[Any] = [
    {"error": {"message": "overloaded", "code": 503}},
    {"error": "plain words"},
    {"error": {"message": None, "type": ["x"], "code": {}}},
    {"detail": [{"loc": ["body"], "msg": "field required"}]},
    {"object": "error", "message": "Bearer sk-abcdefghijklmnopqrstuvwx is wrong", "code": 401},
    {
        "error": {
            "message": "This model's maximum context length is 8 tokens",
            "code": "context_length_exceeded",
        }
    },
    {"error": {"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens"}},
    {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
    [],
    "<html>Bad gateway</html>",
    None,
]
_WAITS = ["20", "0", "-5", "1e9", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "\xe9", "NaN"]
_TYPES = ["application/json", "text/html", "application/json; charset=utf-16", "text/event-stream", "x"]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places inside a JSON value, the whole included."""
    found = [path]
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        found += _paths(member, (*path, key))
    return found


@st.composite
def _damaged(draw: st.DrawFn, orderly: dict[str, Any]) -> Any:
    """An orderly value with up to three of its places dropped, or put in the way of whoever reads them."""
    value: Any = copy.deepcopy(orderly)
    for _ in range(draw(st.integers(0, 3))):
        if not isinstance(value, dict | list) or not value:
            break
        path = draw(st.sampled_from(_paths(value)[1:] or [()]))
        if not path:
            break
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            del holder[path[-1]]
        else:
            holder[path[-1]] = copy.deepcopy(draw(st.sampled_from(HOSTILE_VALUES)))
    return value


@st.composite
def _bytes_of(draw: st.DrawFn, value: Any) -> bytes:
    """A value as JSON, whole as a rule, else cut off or behind a mark."""
    data = json.dumps(value).encode()
    how = draw(st.sampled_from(["whole"] * 6 + ["cut", "empty", "bom", "twice", "latin"]))
    if how == "cut":
        return data[: draw(st.integers(0, len(data)))]
    return {
        "whole": data,
        "empty": b"",
        "bom": b"\xef\xbb\xbf" + data,
        "twice": data + data,
        "latin": data.replace(b"so", b"s\xf6"),
    }[how]


@st.composite
def replies(draw: st.DrawFn) -> Plan:
    """A reply in one piece."""
    status = draw(st.sampled_from(_STATUSES))
    orderly = status == 200 and draw(st.integers(0, 9)) < 8
    value = draw(_damaged(_ANSWER)) if orderly else draw(st.sampled_from(_ERRORS))
    headers = [("content-type", draw(st.sampled_from(_TYPES)))] if draw(st.booleans()) else []
    if draw(st.integers(0, 4)) == 0:
        headers.append(("retry-after", draw(st.sampled_from(_WAITS))))
    breaks = draw(st.sampled_from(["no"] * 10 + ["before", "within"]))
    return Plan(status=status, raw=draw(_bytes_of(value)), headers=tuple(headers), breaks=breaks, words=4)


@st.composite
def streams(draw: st.DrawFn) -> Plan:
    """A reply in pieces: events lost, repeated, damaged, out of order, and cut at any byte."""
    events = [event for event in _EVENTS if draw(st.integers(0, 9)) > 0]
    if draw(st.integers(0, 5)) == 0 and events:
        events = draw(st.permutations(events))
    data = bytearray()
    for event in events:
        noise = draw(st.integers(0, 30))
        if noise == 0:
            data += draw(
                st.sampled_from([b": ping\n\n", b"data: : keepalive\n\n", b"data:\n\n", b"data: {}\n\n"])
            )
        if noise == 1:
            data += b"data: " + json.dumps(draw(st.sampled_from(_ERRORS))).encode() + b"\n\n"
        value = draw(_damaged(event)) if draw(st.integers(0, 5)) == 0 else event
        end = draw(st.sampled_from([b"\n\n", b"\n\n", b"\r\n\r\n", b"\n"]))
        data += draw(st.sampled_from([b"data: ", b"data:"])) + draw(_bytes_of(value)) + end
    if draw(st.integers(0, 3)):
        data += b"data: [DONE]\n\n"
    if draw(st.integers(0, 5)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    parts = [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    breaks = draw(st.sampled_from(["no"] * 5 + ["within"]))
    return Plan(raw=tuple(parts), breaks=breaks, words=4)
