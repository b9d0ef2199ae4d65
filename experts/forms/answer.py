"""What an answer says, as far as its form is concerned."""

from __future__ import annotations

from typing import Any, NamedTuple

_OF_A_TEXT = frozenset(("role", "content"))


class ToolUse(NamedTuple):
    """One call of a tool: its name, and its arguments as the text they were given in."""

    name: str
    arguments: str


class Said(NamedTuple):
    """One answer.

    Attributes:
        text: its words.
        finish: why it ended, in OpenAI's words.
        refusal: what a model says apart from the text where it declines.
        calls: of tools.
        has_more: whether it holds what is no text: a sound, an image.
    """

    text: str
    finish: str = "stop"
    refusal: str = ""
    calls: tuple[ToolUse, ...] = ()
    has_more: bool = False

    @classmethod
    def of_choice(cls, choice: dict[str, Any]) -> Said:
        """Return what a choice of a completion says, in OpenAI's shape (``message``, or ``text``)."""
        finish = str(choice.get("finish_reason") or "")
        message = choice.get("message")
        if not isinstance(message, dict):
            return cls(_text(choice.get("text")), finish)
        content = message.get("content")
        if isinstance(content, str) and message.keys() <= _OF_A_TEXT:
            return cls(content, finish)
        calls = message.get("tool_calls")
        uses = [_use(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        if isinstance(call := message.get("function_call"), dict):
            uses.append(ToolUse(_text(call.get("name")), _text(call.get("arguments"))))
        return cls(
            _text(content),
            finish,
            _text(message.get("refusal")),
            tuple(uses),
            bool(message.get("audio") or message.get("images")),
        )


def _use(call: dict[str, Any]) -> ToolUse:
    inner = call.get(str(call.get("type")))
    inner = inner if isinstance(inner, dict) else {}
    return ToolUse(_text(inner.get("name")), _text(inner.get("arguments", inner.get("input"))))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
