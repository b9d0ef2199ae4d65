"""What a request needs of whoever answers it, found once from its body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experts.eligibility.scripts import script_of
from experts.upstream.request import Extent, measure

#: What a part of a message needs.
_PARTS = {
    "image_url": "vision",
    "input_image": "vision",
    "image": "vision",
    "input_audio": "audio",
    "audio": "audio",
    "file": "files",
    "input_file": "files",
    "document": "files",
}
_NOTHING_TO_READ = frozenset(("role", "content"))


@dataclass(frozen=True)
class Needs:
    """What a request needs.

    Attributes:
        abilities: fields of :class:`experts.catalogue.capabilities.Capabilities`, and the field of the
            request that asks for each.
        script: the writing system of what was said last, where it is not Latin.
        extent: its size.
        body: the request, in OpenAI's words.
    """

    abilities: dict[str, str]
    script: str | None
    extent: Extent
    body: dict[str, Any]

    def texts(self) -> Iterator[str]:
        """Yield what is to be read: messages or prompt, calls of tools, and descriptions of tools."""
        for message in _dicts(self.body.get("messages")):
            content = message.get("content")
            if isinstance(content, str):
                yield content
            for part in _dicts(content):
                if isinstance(text := part.get("text", part.get("refusal")), str):
                    yield text
            rest = {name: value for name, value in message.items() if name not in _NOTHING_TO_READ and value}
            if rest:
                yield json.dumps(rest, ensure_ascii=False, default=str)
        if isinstance(prompt := self.body.get("prompt"), str):
            yield prompt
        for name in ("tools", "functions"):
            if tools := self.body.get(name):
                yield json.dumps(tools, ensure_ascii=False, default=str)


def find_needs(body: dict[str, Any], text: str, extent: Extent | None = None) -> Needs:
    """Return what a request needs.

    Args:
        body: of the request, in OpenAI's words.
        text: what was said last: its language is the one to be answered in.
        extent: of the body, where it is known.
    """
    extent = extent or measure(body)
    return Needs(_find_abilities(body), script_of(text), extent, body)


def _find_abilities(body: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("tools", "functions"):
        if body.get(name):
            found["tools"] = name
            if body.get("parallel_tool_calls") is True:
                found["parallel_tools"] = "parallel_tool_calls"
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        found["json_schema"] = "response_format"
    if body.get("reasoning_effort") is not None:
        found["reasoning_effort"] = "reasoning_effort"
    for message in _dicts(body.get("messages")):
        calls = message.get("tool_calls")
        if calls or message.get("function_call") or message.get("role") in ("tool", "function"):
            found.setdefault("tools", "messages")
        if message.get("audio"):
            found.setdefault("audio", "messages")
        for part in _dicts(message.get("content")):
            if (ability := _PARTS.get(str(part.get("type")))) is not None:
                found.setdefault(ability, "messages")
    return found


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())
