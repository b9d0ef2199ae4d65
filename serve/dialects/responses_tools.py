"""Tools of the Responses API as those of a chat completion, where a namespace is a part of the name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from serve.dialects.parts import refuse

_BETWEEN = "__"  # of a namespace and a name


def flat_name(name: str, namespace: str | None) -> str:
    """Return the name of a tool where there are no namespaces."""
    return f"{namespace}{_BETWEEN}{name}" if namespace else name


def names_in(tools: Sequence[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return what an item says of the tool that it calls, by the names of :func:`flat_name`."""
    return {
        flat_name(str(tool.get("name")), space): {"name": str(tool.get("name")), "namespace": space}
        for tool, space, _ in _each(tools)
        if space
    }


def tools_of(tools: Sequence[dict[str, Any]], named: frozenset[str] | None) -> list[dict[str, Any]]:
    """Return the tools of a chat completion; ``named`` are those that are allowed, None for all.

    Raises:
        ApiError: there is one that no client runs.
    """
    read = [_tool(*one) for one in _each(tools)]
    return [tool for tool in read if named is None or tool[tool["type"]]["name"] in named]


def choice_of(
    choice: str | dict[str, Any] | None,
) -> tuple[str | dict[str, Any] | None, frozenset[str] | None]:
    """Return the choice of a tool, and the names of the tools that it leaves; None for all.

    Raises:
        ApiError: a chat completion has no such choice.
    """
    if choice is None or choice in ("auto", "none", "required"):
        return choice, None
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind in ("function", "custom") and isinstance(choice, dict) and isinstance(choice.get("name"), str):
        return {"type": kind, kind: {"name": _flat(choice)}}, None
    tools = choice.get("tools") if isinstance(choice, dict) else None
    if kind == "allowed_tools" and isinstance(choice, dict) and isinstance(tools, list):
        names = frozenset(_flat(tool) for tool in tools if isinstance(tool, dict))
        mode = choice.get("mode")
        return ("required" if mode == "required" else "auto"), names
    refuse("give auto, none, required, a function, a custom tool or allowed_tools", "tool_choice")


def _flat(told: dict[str, Any]) -> str:
    space = told.get("namespace")
    return flat_name(str(told.get("name")), space if isinstance(space, str) else None)


def _each(tools: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str | None, str]]:
    """Yield each tool with its namespace, and where it is in the request."""
    for position, tool in enumerate(tools):
        place = f"tools.{position}"
        if tool.get("type") != "namespace":
            yield tool, None, place
            continue
        space, inner = tool.get("name"), tool.get("tools")
        if not isinstance(space, str) or not isinstance(inner, list):
            refuse("a namespace needs a name and a list of tools", place)
        for at, one in enumerate(inner):
            if not isinstance(one, dict):
                refuse("a tool is an object with a type", f"{place}.tools.{at}")
            yield one, space, f"{place}.tools.{at}"


def _tool(tool: dict[str, Any], namespace: str | None, place: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        refuse(
            f"tools of type {str(kind)[:100]!r} are run by an API, and none is here; give functions",
            f"{place}.type",
        )
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        refuse("a tool needs a name", f"{place}.name")
    names = ("name", "description", "parameters", "strict") if kind == "function" else ("name", "description")
    inner = {name: tool[name] for name in names if tool.get(name) is not None}
    inner["name"] = flat_name(tool["name"], namespace)
    form = tool.get("format")
    if kind == "custom" and isinstance(form, dict):
        rest = {name: value for name, value in form.items() if name != "type"}
        grammar = {"type": "grammar", "grammar": rest}
        inner["format"] = grammar if form.get("type") == "grammar" else form
    return {"type": kind, kind: inner}
