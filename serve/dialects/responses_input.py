"""The input of a request to the Responses API, as the turns of a chat completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.dialects.parts import Part, content_of, refuse, text_of
from serve.dialects.responses_tools import flat_name

#: Items of turns that a conversation goes on without: thoughts are not asked for again.
_LEFT_OUT = ("reasoning",)


def turns_of(instructions: str | None, given: str | Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the turns: the instructions first, then the input; calls of one turn in one message.

    Raises:
        ApiError: there is an item or a part that no chat completion has.
    """
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    turns: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for position, item in enumerate(items):
        _add(turns, item, f"input.{position}")
    return turns


def _add(turns: list[dict[str, Any]], item: dict[str, Any], place: str) -> None:
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        turn = _message(item, place)
        if turn["role"] == "system" and turns and _is_text_of_system(turns[-1]) and _is_text_of_system(turn):
            # Templates of local models know one system message.
            turns[-1] = {**turns[-1], "content": f"{turns[-1]['content']}\n\n{turn['content']}"}
        else:
            turns.append(turn)
    elif kind in ("function_call", "custom_tool_call"):
        _add_call(turns, _call(item, kind, place))
    elif kind in ("function_call_output", "custom_tool_call_output"):
        output = item.get("output")
        content = output if isinstance(output, str) else content_of(_parts(output, f"{place}.output"))
        call_id = text_of(item, "call_id", f"{place}.call_id")
        turns.append({"role": "tool", "tool_call_id": call_id, "content": content})
    elif kind == "item_reference":
        refuse("nothing is kept here that an item could refer to; send the item itself", f"{place}.type")
    elif kind not in _LEFT_OUT:
        refuse(f"items of type {str(kind)[:100]!r} are not taken", f"{place}.type")


def _message(item: dict[str, Any], place: str) -> dict[str, Any]:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        refuse("a message is of the role user, assistant, system or developer", f"{place}.role")
    content = item.get("content")
    said = content if isinstance(content, str) else content_of(_parts(content, f"{place}.content"))
    return {"role": "system" if role == "developer" else role, "content": said}


def _is_text_of_system(turn: dict[str, Any]) -> bool:
    return turn["role"] == "system" and isinstance(turn["content"], str)


def _call(item: dict[str, Any], kind: str, place: str) -> dict[str, Any]:
    told = {name: text_of(item, name, f"{place}.{name}") for name in ("call_id", "name")}
    of_chat, field = ("function", "arguments") if kind == "function_call" else ("custom", "input")
    space = item.get("namespace")
    name = flat_name(told["name"], space if isinstance(space, str) else None)
    inner = {"name": name, field: text_of(item, field, f"{place}.{field}")}
    return {"id": told["call_id"], "type": of_chat, of_chat: inner}


def _add_call(turns: list[dict[str, Any]], call: dict[str, Any]) -> None:
    if not turns or turns[-1]["role"] != "assistant":
        turns.append({"role": "assistant", "content": None})
    turns[-1].setdefault("tool_calls", []).append(call)


def _parts(content: Any, place: str) -> list[Part]:
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        refuse("give a text, or a list of parts", place)
    return [_part(part, f"{place}.{position}") for position, part in enumerate(content)]


def _part(part: dict[str, Any], place: str) -> Part:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text", "summary_text", "reasoning_text"):
        return {"type": "text", "text": text_of(part, "text", f"{place}.text")}
    if kind == "refusal":
        return {"type": "refusal", "refusal": text_of(part, "refusal", f"{place}.refusal")}
    if kind == "input_image":
        if not isinstance(part.get("image_url"), str):
            refuse("no files are kept here; give the picture as image_url", place)
        detail = {"detail": part["detail"]} if isinstance(part.get("detail"), str) else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_file":
        if not isinstance(part.get("file_data"), str):
            refuse("no files are kept or fetched here; give the file as file_data", place)
        name = {"filename": part["filename"]} if isinstance(part.get("filename"), str) else {}
        return {"type": "file", "file": {**name, "file_data": part["file_data"]}}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    refuse(f"parts of type {str(kind)[:100]!r} are not taken", f"{place}.type")
