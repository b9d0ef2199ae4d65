"""Which form an answer has to have, and whether one that came is usable: for the endpoint and evaluation.

A form is found from a chat request or from a row of questions, the same types for both. No rule here says
that an answer is *right*, only whether its reader can do anything with it.
"""

from experts.forms.answer import Said, ToolUse
from experts.forms.comparing import comparable_key, is_comparable, option_count
from experts.forms.finding import form_of_question, form_of_request
from experts.forms.kinds import (
    AnswerForm,
    Code,
    JsonText,
    LongText,
    NumberOrFormula,
    OptionLetter,
    ShortText,
    ToolCall,
    must_be_whole,
)
from experts.forms.recorded import usable_answers
from experts.forms.schema import JsonSchema, SchemaError, compile_schema
from experts.forms.usable import Reason, Unusable, judge_usable

__all__ = [
    "AnswerForm",
    "Code",
    "JsonSchema",
    "JsonText",
    "LongText",
    "NumberOrFormula",
    "OptionLetter",
    "Reason",
    "Said",
    "SchemaError",
    "ShortText",
    "ToolCall",
    "ToolUse",
    "Unusable",
    "comparable_key",
    "compile_schema",
    "form_of_question",
    "form_of_request",
    "is_comparable",
    "judge_usable",
    "must_be_whole",
    "option_count",
    "usable_answers",
]
