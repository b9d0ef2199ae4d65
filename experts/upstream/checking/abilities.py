"""What an API's model can do, found by asking for it: tools, formats, images, sound, effort."""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from experts.catalogue.capabilities import Capabilities
from experts.upstream.client import UpstreamClient
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.reading import Answer
from experts.upstream.request import ask_of

_MOST_TOKENS = 200  # a model that thinks first needs some
_LONGEST_S = 60.0
_SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
_TOOL = {"type": "function", "function": {"name": "say", "description": "Say a word.", "parameters": _SCHEMA}}
#: The request itself was refused; anything else says nothing of what the model can do.
_REFUSED = {FailureKind.BAD_REQUEST, FailureKind.REFUSED_PARAMETER}


async def probe_abilities(client: UpstreamClient) -> dict[str, str]:
    """Ask an expert for whatever its catalogue entry does not state; return what was found, yes or no.

    What stays unknown is left out: an answer that could have been given either way, or a failure that has
    other causes. Up to six requests of some hundred tokens each; one that is refused is never billed.

    Args:
        client: of the expert. What it learns of the API's dialect is its own: give it one to throw away.
    """
    stated: Capabilities = client.spec.capabilities
    found: dict[str, str] = {}
    for name, probe in _PROBES.items():
        if getattr(stated, name) != "unknown":
            continue
        if name == "parallel_tools" and "no" in (stated.tools, found.get("tools")):
            continue
        if (said := await probe(client)) is not None:
            found[name] = said
    return found


async def _tools(client: UpstreamClient) -> str | None:
    reply = await _ask(client, "Say yes.", tools=[_TOOL], tool_choice="required")
    return _said(reply, lambda answer: "yes" if _calls(answer) else "no")


async def _parallel_tools(client: UpstreamClient) -> str | None:
    asked = "Call say twice at once, in one turn: with the word yes, and with the word no."
    reply = await _ask(client, asked, tools=[_TOOL], tool_choice="required", parallel_tool_calls=True)
    if "parallel_tool_calls" in client.dialect.drop and "parallel_tool_calls" not in client.spec.dialect.drop:
        return "no"
    return _said(reply, lambda answer: "yes" if len(_calls(answer)) > 1 else None)


async def _json_schema(client: UpstreamClient) -> str | None:
    form = {"type": "json_schema", "json_schema": {"name": "said", "schema": _SCHEMA}}
    reply = await _ask(client, "Give the word yes.", response_format=form)

    def judge(answer: Answer) -> str:
        with suppress(ValueError):
            value = json.loads(answer.text)
            return "yes" if isinstance(value, dict) and isinstance(value.get("word"), str) else "no"
        return "no"

    return _said(reply, judge)


async def _vision(client: UpstreamClient) -> str | None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_red_square()}"}}
    question = {"type": "text", "text": "Which colour is this picture? Reply with the colour alone."}
    reply = await _ask(client, [question, picture])
    return _said(reply, lambda answer: "yes" if "red" in answer.text.lower() else None)


async def _audio(client: UpstreamClient) -> str | None:
    sound = {"type": "input_audio", "input_audio": {"data": _silence(), "format": "wav"}}
    reply = await _ask(client, [{"type": "text", "text": "Reply with the word yes."}, sound])
    return _said(reply, lambda _: None)  # it may have passed over the sound


async def _reasoning_effort(client: UpstreamClient) -> str | None:
    reply = await _ask(client, "Reply with the word yes.", reasoning_effort="low")
    if "reasoning_effort" in client.dialect.drop:
        return "no"
    return _said(reply, lambda _: "yes")


_PROBES: dict[str, Callable[[UpstreamClient], Awaitable[str | None]]] = {
    "tools": _tools,
    "parallel_tools": _parallel_tools,
    "json_schema": _json_schema,
    "vision": _vision,
    "audio": _audio,
    "reasoning_effort": _reasoning_effort,
}


async def _ask(client: UpstreamClient, content: Any, **fields: Any) -> Answer | Failure:
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": _MOST_TOKENS} | fields
    return await client.answer(ask_of(client.spec, body), _LONGEST_S)


def _said(reply: Answer | Failure, judge: Callable[[Answer], str | None]) -> str | None:
    if isinstance(reply, Failure):
        return "no" if reply.kind in _REFUSED else None
    return None if reply.is_unfinished or reply.is_withheld else judge(reply)


def _calls(answer: Answer) -> list[Any]:
    return answer.body["choices"][0]["message"].get("tool_calls") or []


def _red_square(side: int = 64) -> str:
    """Return a red square as PNG in base64; of a size that no API finds too small."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    rows = (b"\0" + b"\xff\0\0" * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    return base64.b64encode(png + chunk(b"IEND", b"")).decode()


def _silence(seconds: float = 0.5) -> str:
    """Return silence as WAV in base64."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(b"\0\0" * int(8_000 * seconds))
    return base64.b64encode(file.getvalue()).decode()
