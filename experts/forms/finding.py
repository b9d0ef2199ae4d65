"""Which form an answer has to have: found from a chat request, or from a row of questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experts.forms.asked import asks_for, options_asked
from experts.forms.kinds import (
    AnswerForm,
    Code,
    JsonText,
    LongText,
    NumberOrFormula,
    OptionLetter,
    ShortText,
    ToolCall,
)
from experts.forms.schema import SchemaError, compile_schema
from experts.grading.exact import reference_kind

#: Completion tokens within which an answer is a letter or a number, and within which it is short.
_FEW_TOKENS, _SHORT_TOKENS = 16, 32

_LONG, _SHORT, _CODE, _NUMBER = LongText(), ShortText(), Code(), NumberOrFormula()
_ANY_OBJECT = JsonText()


def form_of_request(body: Mapping[str, Any], text: str) -> AnswerForm:
    """Return the form that an answer to a request has to have.

    What the request says in fields (``tool_choice``, ``response_format``) counts before what its text asks
    for. A text is taken to ask for a letter, a number or code only where it says so. Who asks for
    log-probabilities reads those, and any text will do.

    Args:
        body: a chat or text completion's, in OpenAI's shape.
        text: what was said last.

    Raises:
        SchemaError: a schema that an answer would have to be checked against is none, or cannot be checked.
    """
    if ("tools" in body or "functions" in body) and (tools := _tools_of(body)) is not None:
        return tools
    wanted = body.get("response_format")
    if isinstance(wanted, dict):
        if wanted.get("type") == "json_schema":
            return _json_of(wanted.get("json_schema"))
        if wanted.get("type") == "json_object":
            return _ANY_OBJECT
    limit: int | None = body.get("max_tokens")
    if "max_completion_tokens" in body:
        limit = max(limit or 0, body["max_completion_tokens"] or 0) or None
    is_short = limit is not None and limit <= _SHORT_TOKENS
    if body.get("logprobs"):
        return _SHORT if is_short else _LONG
    is_brief = limit is not None and limit <= _FEW_TOKENS
    if "\n" in text and (choices := options_asked(text, is_brief=is_brief)):
        return OptionLetter(choices)
    if (wanted := asks_for(text)) is not None:
        return _NUMBER if wanted == "number" else _CODE
    return _SHORT if is_short else _LONG


def form_of_question(
    kind: str, choices: Sequence[str] | None = None, answer: str = "", *, scoring: str | None = None
) -> AnswerForm:
    """Return the form that an answer to a question has to have.

    Args:
        kind: of the question, as in QUESTIONS: ``choice``, ``exact``, ``verified``, ``judged``.
        choices: its options.
        answer: the reference.
        scoring: of the expert. ``letter`` and ``cloze`` rank the options themselves: nothing is to be read.
    """
    if choices:
        return _SHORT if scoring in ("letter", "cloze") else OptionLetter(tuple(choices))
    if kind == "judged":
        return _LONG
    if kind == "exact" and reference_kind(answer) != "exact":
        return _NUMBER
    return _SHORT


def _json_of(told: Any) -> JsonText:
    schema = told.get("schema") if isinstance(told, Mapping) else None
    if schema is None:
        return _ANY_OBJECT
    try:
        return JsonText(compile_schema(schema))
    except SchemaError as error:
        raise SchemaError(f"response_format.json_schema.schema: {error}") from None


def _tools_of(body: Mapping[str, Any]) -> ToolCall | None:
    """Return what calls of tools a request wants or permits; None where it has none, or forbids them."""
    choice = body.get("tool_choice", body.get("function_call"))
    offered = _offered(body)
    if not offered or choice == "none":
        return None
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools")
        inner = inner if isinstance(inner, Mapping) else {}
        listed = inner.get("tools")
        names = [_name_in(one) for one in listed] if isinstance(listed, list) else []
        offered = {name: schema for name, schema in offered.items() if name in names}
        choice = inner.get("mode")
    if isinstance(choice, Mapping):
        name = _name_in(choice)
        offered = {name: offered[name]} if name in offered else {}
    is_required = choice == "required" or isinstance(choice, Mapping)
    if is_required:
        for name, schema in offered.items():
            if schema is not None:
                _check_tool(name, schema)
    return ToolCall(offered, is_required)


def _check_tool(name: str, schema: dict[str, Any]) -> None:
    try:
        compile_schema(schema)
    except SchemaError as error:
        raise SchemaError(f"parameters of the tool {name!r}: {error}") from None


def _offered(body: Mapping[str, Any]) -> dict[str, dict[str, Any] | None]:
    """Return the schema of each tool's parameters; None of those that take a free text."""
    offered: dict[str, dict[str, Any] | None] = {}
    for field in ("tools", "functions"):
        told = body.get(field)
        for tool in told if isinstance(told, list) else ():
            if not isinstance(tool, Mapping):
                continue
            kind = tool.get("type", "function")
            inner = tool.get(str(kind), tool if field == "functions" else None)
            if not isinstance(inner, Mapping) or not isinstance(name := inner.get("name"), str):
                continue
            schema = inner.get("parameters")
            offered[name] = None if kind == "custom" else schema if isinstance(schema, dict) else {}
    return offered


def _name_in(choice: Any) -> str:
    if not isinstance(choice, Mapping):
        return ""
    inner = choice.get(str(choice.get("type")), choice)
    return str(inner.get("name")) if isinstance(inner, Mapping) else ""
