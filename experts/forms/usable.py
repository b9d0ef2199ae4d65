"""Whether its reader can do anything with an answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from experts.forms.answer import Said, ToolUse
from experts.forms.kinds import AnswerForm, Code, JsonText, NumberOrFormula, OptionLetter, ToolCall
from experts.forms.refusals import is_refusal
from experts.forms.schema import DEEPEST, LONGEST_CHECKED, JsonSchema, SchemaError, compile_schema
from experts.grading.numbers import stated_number
from experts.grading.parsing import parse_choice, stated_answer
from experts.grading.plain import without_thinking
from experts.grading.symbolic import is_formula


class Reason(StrEnum):
    """Why an answer is not usable, from what may still be of some use to what is of none."""

    BAD_ARGUMENTS = "bad_arguments"  # a tool is called with what its parameters do not allow
    SCHEMA_VIOLATED = "schema_violated"  # it is JSON, and not valid against the schema
    WRONG_TOOL = "wrong_tool"  # a tool is called that was not offered
    UNREADABLE = "unreadable"  # no option, number or formula can be read from it
    NOT_JSON = "not_json"
    CUT_OFF = "cut_off"  # it came to its length before its end
    NO_TOOL_CALL = "no_tool_call"
    REFUSED = "refused"  # the model declines
    WITHHELD = "withheld"  # a filter ended it
    EMPTY = "empty"

    @property
    def rank(self) -> int:
        """Its place among the reasons: of several unusable answers that with the lowest is given."""
        return list(Reason).index(self)


@dataclass(frozen=True)
class Unusable:
    """An answer that its reader can do nothing with."""

    reason: Reason


def judge_usable(form: AnswerForm, said: Said) -> Unusable | None:
    """Return why an answer is not usable, None where it is. It may be wrong and usable.

    A letter, a number and a formula are read as the graders read them. JSON is read as a client's reader
    does: no text beside it, no fence around it. Texts that need no end may be cut off.

    >>> judge_usable(JsonText(), Said("{}")), judge_usable(JsonText(), Said("Here: {}")).reason.value
    (None, 'not_json')
    """
    reason: Reason | None
    if said.refusal and not said.text.strip() and not said.calls:
        return Unusable(Reason.REFUSED)
    if isinstance(form, ToolCall) and (said.calls or form.is_required):
        reason = _reason_of_calls(form, said)
    elif said.calls or said.has_more:
        return None
    elif not said.text.strip():
        reason = Reason.CUT_OFF if said.finish == "length" else Reason.EMPTY
    elif isinstance(form, JsonText):
        reason = _reason_of_json(form, said.text)
    elif isinstance(form, OptionLetter):
        reason = None if parse_choice(said.text, form.choices) is not None else Reason.UNREADABLE
    elif isinstance(form, NumberOrFormula):
        reason = None if _states_number(said.text) else Reason.UNREADABLE
    else:
        reason = _reason_of_text(form, said)
    if reason is None:
        return None
    return Unusable(_truer(reason, said))


def _truer(reason: Reason, said: Said) -> Reason:
    """Return the reason behind a reason: an answer that cannot be read may be a refusal, or be cut off."""
    if said.finish == "content_filter":
        return Reason.WITHHELD
    if reason in (Reason.UNREADABLE, Reason.NOT_JSON, Reason.NO_TOOL_CALL):
        if said.finish == "length":
            return Reason.CUT_OFF
        if said.refusal or is_refusal(said.text):
            return Reason.REFUSED
    return Reason.CUT_OFF if reason is Reason.BAD_ARGUMENTS and said.finish == "length" else reason


def _reason_of_text(form: AnswerForm, said: Said) -> Reason | None:
    text = said.text
    if said.finish == "content_filter":
        return Reason.WITHHELD
    if "<think" in text[:200] and not without_thinking(text).strip():
        return Reason.CUT_OFF
    if isinstance(form, Code) and said.finish == "length" and text.count("```") % 2:
        return Reason.CUT_OFF
    return Reason.REFUSED if is_refusal(text) else None


def _reason_of_json(form: JsonText, text: str) -> Reason | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Reason.NOT_JSON
    if _is_deep(value, text):
        return Reason.NOT_JSON
    if form.schema is None:
        return None if isinstance(value, dict) else Reason.SCHEMA_VIOLATED
    return None if _is_valid(form.schema, value, text) else Reason.SCHEMA_VIOLATED


def _reason_of_calls(form: ToolCall, said: Said) -> Reason | None:
    if not said.calls:
        return Reason.NO_TOOL_CALL
    if any(call.name not in form.tools for call in said.calls):
        return Reason.WRONG_TOOL
    return None if all(_fits(form, call) for call in said.calls) else Reason.BAD_ARGUMENTS


def _fits(form: ToolCall, call: ToolUse) -> bool:
    parameters = form.tools[call.name]
    if parameters is None:
        return True
    try:
        value = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        return False
    if not isinstance(value, dict) or _is_deep(value, call.arguments):
        return False
    if not parameters:
        return True
    try:
        return _is_valid(compile_schema(parameters), value, call.arguments)
    except SchemaError:  # only where no call was required: one that is, is refused with such a schema
        return True


def _is_valid(schema: JsonSchema, value: Any, text: str) -> bool:
    """Tell whether a value is valid, or would take too long to check: then it counts as valid."""
    return schema.takes_long(text) or schema.allows(value)


def _states_number(text: str) -> bool:
    stated, is_marked = stated_answer(text)
    if not stated.strip():
        return False
    return is_marked or stated_number(stated, prose=True) is not None or is_formula(stated)


def _is_deep(value: Any, text: str) -> bool:
    """Tell whether a value has more levels than are checked; of one that is too long for that nobody asks."""
    if len(text) > LONGEST_CHECKED or text.count("[") + text.count("{") <= DEEPEST:
        return False
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            return True
        inner = (
            list(one.values()) if isinstance(one, dict) else one
            for one in level
            if isinstance(one, dict | list)
        )
        level = [one for many in inner for one in many if isinstance(one, dict | list)]
    return False
