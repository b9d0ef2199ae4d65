"""One answer in the words of five vendors, whole and streamed, with what it costs there."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from tests.experts.upstream.scripted_socket import Act, Call, completion, piece

#: Read 22 tokens, 5 of them cached, and 7 put into the cache, 3 for an hour; wrote 2.
USAGE = {
    **{"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7},
    "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
    "output_tokens": 2,
}


def message(text: str | None = "Fine.", **fields: Any) -> dict[str, Any]:
    """Return a whole answer of Anthropic's."""
    content = [] if text is None else [{"type": "text", "text": text}]
    return {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content},
        **{"stop_reason": "end_turn", "usage": USAGE},
    } | fields


def events_of(*texts: str, stop: str = "end_turn") -> list[dict[str, Any]]:
    """Return Anthropic's events of an answer."""
    begin = {"type": "message_start", "message": message(None) | {"usage": {**USAGE, "output_tokens": 1}}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in texts
    ]
    return [
        *(begin, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]


def send_events(*events: Any, cut: bool = False) -> Act:
    """Stream events; a number is a pause in seconds."""

    async def act(call: Call) -> None:
        await call.begin_stream()
        for event in events:
            if isinstance(event, float):
                await asyncio.sleep(event)
            else:
                name = f"event: {event['type']}\n" if "type" in event else ""
                await call.chunk(f"{name}data: {json.dumps(event)}\n\n".encode())
        if cut:
            return call.reset()
        await call.end_stream(done=False)

    return act


def send(status: int, body: Any, **headers: str) -> Act:
    async def act(call: Call) -> None:
        await call.reply(status, body, **headers)

    return act


def _frame(event: str, payload: Any) -> bytes:
    """Return an event as AWS sends it: lengths, headers, payload, each with its checksum."""
    data, headers = json.dumps(payload).encode(), b""
    for name, value in ((":event-type", event), (":message-type", "event")):
        headers += (
            bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        )
    begin = struct.pack(">II", 16 + len(headers) + len(data), len(headers))
    begin += struct.pack(">I", zlib.crc32(begin))
    frame = begin + headers + data
    return frame + struct.pack(">I", zlib.crc32(frame))


def _send_frames(*frames: bytes) -> Act:
    async def act(call: Call) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"
        await call.send(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        for frame in frames:
            await call.chunk(frame)
        await call.end_stream(done=False)

    return act


@dataclass(frozen=True)
class Vendor:
    """How a vendor is asked, and answers "Fine." in two pieces.

    Attributes:
        model: as litellm names it.
        body: fields of its every request.
        whole: a whole answer.
        pieces: acts of a streamed one: all of it, and one that ends before the reason to end.
        path: where it is asked.
        base: what stands behind the host in its ``base_url``.
        tokens: read, of them cached, written.
    """

    model: str
    whole: Any
    pieces: tuple[Act, Act]
    path: str
    tokens: tuple[int, int, int]
    body: dict[str, Any] = field(default_factory=dict)
    base: str = ""


_ANTHROPIC = events_of("Fi", "ne.")
_BEDROCK_USAGE = {"inputTokens": 10, "outputTokens": 2, "totalTokens": 24, "cacheReadInputTokens": 5}
_BEDROCK_USAGE |= {"cacheWriteInputTokens": 7}
_BEDROCK = [
    _frame("messageStart", {"role": "assistant"}),
    *(
        _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})
        for text in ("Fi", "ne.")
    ),
    _frame("messageStop", {"stopReason": "end_turn"}),
    _frame("metadata", {"usage": _BEDROCK_USAGE, "metrics": {"latencyMs": 1}}),
]
_GOOGLE_USAGE = {"promptTokenCount": 22, "candidatesTokenCount": 2, "totalTokenCount": 30}
_GOOGLE_USAGE |= {"thoughtsTokenCount": 6, "cachedContentTokenCount": 5}


def _google(text: str, **fields: Any) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}} | fields
    return {"candidates": [candidate], "usageMetadata": _GOOGLE_USAGE, "modelVersion": "m"}


_AZURE = [piece({"role": "assistant", "content": "Fi"}), piece({"content": "ne."})]
_AZURE_END = [piece({}, "stop"), piece({}) | {"choices": [], "usage": completion()["usage"]}]
_GOOGLE_STREAM = (
    send_events(_google("Fi"), _google("ne.", finishReason="STOP")),
    send_events(_google("Fi"), _google("ne.")),
)
_PROJECT = "/v1/projects/p/locations/l/publishers/google/models/gemini-m"

VENDORS = {
    "anthropic": Vendor(
        "anthropic/m",
        message(),
        (send_events(*_ANTHROPIC), send_events(*_ANTHROPIC[:4])),
        "/v1/messages",
        (22, 5, 2),
    ),
    "azure": Vendor(
        "azure/m",
        completion(),
        (send_events(*_AZURE, *_AZURE_END), send_events(*_AZURE)),
        "/openai/deployments/m/chat/completions?api-version=2024-10-21",
        (12, 0, 2),
        {"api_version": "2024-10-21"},
    ),
    "bedrock": Vendor(
        "bedrock/converse/anthropic.m-v1",
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Fine."}]}},
            "stopReason": "end_turn",
            "usage": _BEDROCK_USAGE,
        },
        (_send_frames(*_BEDROCK), _send_frames(*_BEDROCK[:3])),
        "/model/anthropic.m-v1/converse",
        (22, 5, 2),
        {"aws_region_name": "eu-west-1"},
    ),
    "gemini": Vendor(
        "gemini/m", _google("Fine.", finishReason="STOP"), _GOOGLE_STREAM, "/models/m:", (22, 5, 8)
    ),
    "vertex": Vendor(
        "vertex_ai/gemini-m",
        _google("Fine.", finishReason="STOP"),
        _GOOGLE_STREAM,
        f"{_PROJECT}:",
        (22, 5, 8),
        {"vertex_project": "p", "vertex_location": "l"},
        base=_PROJECT,
    ),
}
