"""The conversation of a request to Anthropic's Messages API, as the turns of a chat completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serve.dialects.parts import Part, as_text, content_of, refuse, text_of

Content = str | list[dict[str, Any]]

#: Blocks that a conversation goes on without: thoughts are signed by who had them, and of use to nobody else.
_LEFT_OUT = ("thinking", "redacted_thinking")


def turns_of(system: Content | None, turns: Iterable[tuple[str, Content]]) -> list[dict[str, Any]]:
    """Return the turns of a chat completion: the system prompt, and each (role, content) in its order.

    Results of tools become turns of their own, before what the user says beside them.

    Raises:
        ApiError: there is a block that no chat completion has.
    """
    read = [{"role": "system", "content": _said(system, "system")}] if system else []
    for position, (role, content) in enumerate(turns):
        place = f"messages.{position}.content"
        if isinstance(content, str) or role == "system":
            read.append({"role": role, "content": _said(content, place)})
        elif role == "assistant":
            read.append(_assistant(content, place))
        else:
            read += _user(content, place)
    return read


def _said(content: Content, place: str) -> Any:
    return content if isinstance(content, str) else content_of(_parts(content, place))


def _user(blocks: list[dict[str, Any]], place: str) -> list[dict[str, Any]]:
    results, parts = [], []
    for position, block in enumerate(blocks):
        here = f"{place}.{position}"
        if block.get("type") == "tool_result":
            call_id = text_of(block, "tool_use_id", f"{here}.tool_use_id")
            content = block.get("content") or ""
            if not isinstance(content, str | list):
                refuse("give a text, or a list of blocks", f"{here}.content")
            said = _said(content, f"{here}.content")
            results.append({"role": "tool", "tool_call_id": call_id, "content": said})
        else:
            parts += _parts([block], place, position)
    return [*results, *([{"role": "user", "content": content_of(parts)}] if parts or not results else [])]


def _assistant(blocks: list[dict[str, Any]], place: str) -> dict[str, Any]:
    calls, parts = [], []
    for position, block in enumerate(blocks):
        here = f"{place}.{position}"
        if block.get("type") == "tool_use":
            given = block.get("input", {})
            if not isinstance(given, dict):
                refuse("the input of a tool is an object", f"{here}.input")
            told = {name: text_of(block, name, f"{here}.{name}") for name in ("id", "name")}
            inner = {"name": told["name"], "arguments": as_text(given, f"{here}.input")}
            calls.append({"id": told["id"], "type": "function", "function": inner})
        else:
            parts += _parts([block], place, position)
    said = content_of(parts) if parts or not calls else None
    return {"role": "assistant", "content": said} | ({"tool_calls": calls} if calls else {})


def _parts(blocks: list[Any], place: str, first: int = 0) -> list[Part]:
    parts: list[Part] = []
    for position, block in enumerate(blocks, first):
        here = f"{place}.{position}"
        if not isinstance(block, dict):
            refuse("a block is an object with a type", here)
        kind = block.get("type")
        if kind == "text":
            parts.append({"type": "text", "text": text_of(block, "text", f"{here}.text")})
        elif kind == "image":
            parts.append({"type": "image_url", "image_url": {"url": _picture(block, here)}})
        elif kind == "document":
            parts += _document(block, here)
        elif kind not in _LEFT_OUT:
            refuse(f"blocks of type {str(kind)[:100]!r} are not taken here", f"{here}.type")
    return parts


def _picture(block: dict[str, Any], place: str) -> str:
    source = _source(block, place)
    if source.get("type") == "base64":
        return _data(source, f"{place}.source")
    if source.get("type") == "url":
        return text_of(source, "url", f"{place}.source.url")
    refuse("no files are kept here; give a picture as base64 or by its url", f"{place}.source.type")


def _document(block: dict[str, Any], place: str) -> list[Part]:
    source = _source(block, place)
    kind = source.get("type")
    if kind == "text":
        return [{"type": "text", "text": text_of(source, "data", f"{place}.source.data")}]
    if kind == "content" and isinstance(source.get("content"), str | list):
        content = source["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if any(isinstance(inner, dict) and inner.get("type") == "document" for inner in blocks):
            refuse("a document holds texts and pictures", f"{place}.source.content")
        return _parts(blocks, f"{place}.source.content")
    if kind == "base64":
        title = block.get("title")
        name = {"filename": title if isinstance(title, str) else "document.pdf"}
        return [{"type": "file", "file": {**name, "file_data": _data(source, f"{place}.source")}}]
    refuse("no files are kept or fetched here; give a document as text or base64", f"{place}.source.type")


def _source(block: dict[str, Any], place: str) -> dict[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict):
        refuse("an object named source is missing", f"{place}.source")
    return source


def _data(source: dict[str, Any], place: str) -> str:
    told = (text_of(source, name, f"{place}.{name}") for name in ("media_type", "data"))
    return "data:{};base64,{}".format(*told)
