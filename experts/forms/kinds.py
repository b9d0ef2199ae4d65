"""The forms that an answer may have to have: a small closed set of types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from experts.forms.schema import JsonSchema


@dataclass(frozen=True)
class OptionLetter:
    """One of lettered options: "B", or its words.

    Attributes:
        choices: the texts of the options, in the order of their letters.
    """

    name: ClassVar[str] = "option"
    choices: tuple[str, ...]


@dataclass(frozen=True)
class NumberOrFormula:
    """A number, a formula, or another statement that is marked as the answer."""

    name: ClassVar[str] = "number"


@dataclass(frozen=True)
class JsonText:
    """A text that is JSON, and nothing beside it.

    Attributes:
        schema: what it has to be valid against; None for any object.
    """

    name: ClassVar[str] = "json"
    schema: JsonSchema | None = None


@dataclass(frozen=True)
class ToolCall:
    """Calls of tools, with arguments that their parameters allow.

    Attributes:
        tools: the parameters' schema by tool; None where a tool takes a free text.
        is_required: whether there has to be a call; where not, a text will do.
    """

    name: ClassVar[str] = "tool_call"
    tools: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)
    is_required: bool = True


@dataclass(frozen=True)
class Code:
    """A program, or a part of one."""

    name: ClassVar[str] = "code"


@dataclass(frozen=True)
class ShortText:
    """Some words."""

    name: ClassVar[str] = "short_text"


@dataclass(frozen=True)
class LongText:
    """A text of any length: what is asked for where nothing else is."""

    name: ClassVar[str] = "long_text"


AnswerForm = OptionLetter | NumberOrFormula | JsonText | ToolCall | Code | ShortText | LongText


def must_be_whole(form: AnswerForm) -> bool:
    """Tell whether nothing of an answer is of use before its end, so that a stream of it may be held back."""
    if isinstance(form, ToolCall):
        return form.is_required
    return isinstance(form, OptionLetter | NumberOrFormula | JsonText)
