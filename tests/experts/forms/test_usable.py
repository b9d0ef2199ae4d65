"""Whether anything can be done with an answer."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.forms import (
    Code,
    JsonText,
    LongText,
    NumberOrFormula,
    OptionLetter,
    Reason,
    Said,
    ShortText,
    ToolCall,
    ToolUse,
    compile_schema,
    judge_usable,
    usable_answers,
)
from experts.grading.parsing import parse_choice
from experts.grading.replies import Replies

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
JSON, OPTION, NUMBER = JsonText(compile_schema(SCHEMA)), OptionLetter(("iron", "air")), NumberOrFormula()
TOOL = ToolCall({"one": SCHEMA, "free": None})
MAY_CALL = ToolCall(TOOL.tools, is_required=False)
DECLINED = "I'm sorry, but I can't assist with that."


def reason_of(form, said, **fields):
    said = Said(said, **fields) if isinstance(said, str) else said
    found = judge_usable(form, said)
    return None if found is None else found.reason


@pytest.mark.parametrize(
    ("form", "said", "reason"),
    [
        (JSON, '{"a": 1}', None),
        (JSON, ' \n{"a": 1}\n', None),
        (JSON, '{"a": "1"}', Reason.SCHEMA_VIOLATED),
        (JSON, "{}", Reason.SCHEMA_VIOLATED),
        (JSON, '```json\n{"a": 1}\n```', Reason.NOT_JSON),
        (JSON, '{"a": 1} I hope that helps.', Reason.NOT_JSON),
        (JSON, "<think>hm</think>{\"a\": 1}", Reason.NOT_JSON),
        (JSON, '{"a": NaN}', Reason.NOT_JSON),
        (JSON, Said('{"a": ', "length"), Reason.CUT_OFF),
        (JSON, Said('{"a": 1}', "length"), None),
        (JSON, DECLINED, Reason.REFUSED),
        (JSON, Said("", refusal="No."), Reason.REFUSED),
        (JSON, "", Reason.EMPTY),
        (JSON, Said("", "length"), Reason.CUT_OFF),
        (JSON, Said('{"a', "content_filter"), Reason.WITHHELD),
        (JsonText(), "[1]", Reason.SCHEMA_VIOLATED),
        (JsonText(), "{}", None),
        (OPTION, "(B)", None),
        (OPTION, "The answer is iron.", None),
        (OPTION, "It is iron", Reason.UNREADABLE),
        (OPTION, "iron", None),
        (OPTION, "I do not know", Reason.UNREADABLE),
        (OPTION, "D", Reason.UNREADABLE),
        (OPTION, Said("B", "length"), None),
        (OPTION, Said("Let us think", "length"), Reason.CUT_OFF),
        (OPTION, "Sorry, I cannot answer that. ", Reason.REFUSED),
        (NUMBER, "42", None),
        (NUMBER, "So it is \\boxed{x^2}.", None),
        (NUMBER, "Nobody knows.", Reason.UNREADABLE),
        (TOOL, Said("", calls=(ToolUse("one", '{"a": 1}'),)), None),
        (TOOL, Said("", calls=(ToolUse("one", '{"a": 1}'), ToolUse("one", "{}"))), Reason.BAD_ARGUMENTS),
        (TOOL, Said("", calls=(ToolUse("free", "not JSON"),)), None),
        (TOOL, Said("", calls=(ToolUse("one", '{"a": '),)), Reason.BAD_ARGUMENTS),
        (TOOL, Said("", "length", calls=(ToolUse("one", '{"a": '),)), Reason.CUT_OFF),
        (TOOL, Said("", calls=(ToolUse("three", "{}"),)), Reason.WRONG_TOOL),
        (TOOL, "It is done.", Reason.NO_TOOL_CALL),
        (TOOL, DECLINED, Reason.REFUSED),
        (MAY_CALL, "It is done.", None),
        (MAY_CALL, Said("", calls=(ToolUse("one", "{}"),)), Reason.BAD_ARGUMENTS),
        (ToolCall({"one": {"type": "thing"}}, False), Said("", calls=(ToolUse("one", "{}"),)), None),
        (Code(), Said("```python\nx = 1", "length"), Reason.CUT_OFF),
        (Code(), Said("```python\nx = 1\n``` and", "length"), None),
        (Code(), "x = 1", None),
        (ShortText(), "Lima", None),
        (ShortText(), Said("Lima is a", "length"), None),
        (LongText(), " \n", Reason.EMPTY),
        (LongText(), DECLINED, Reason.REFUSED),
        (LongText(), "<think>It may be", Reason.CUT_OFF),
        (LongText(), Said("", has_more=True), None),
    ],
)  # fmt: skip
def test_each_form_and_reason(form, said, reason):
    assert reason_of(form, said) == reason


@pytest.mark.parametrize(
    "text",
    [
        DECLINED,
        "I cannot help with that request.",
        "Sorry, I can’t provide that.",
        "I apologize, but I am unable to assist with this.",
        "As an AI language model, I cannot create such content.",
        "Unfortunately, I'm not able to do that.",
        "I won't.",
    ],
)
def test_what_declines(text):
    assert reason_of(LongText(), text) is Reason.REFUSED


@pytest.mark.parametrize(
    "text",
    [
        "I cannot recommend this restaurant highly enough!",
        "I'm sorry to hear that. Here is what you can do: call the shop.",
        "The door cannot open, so I can't say that it is safe, but try the window.",
        "Sorry for the delay. The capital is Lima.",
        "I can help with that: it is Lima.",
        "I can't assist with that. " + "But here is what is known. " * 40,
    ],
)
def test_what_says_something(text):
    assert reason_of(LongText(), text) is None


@given(st.text(max_size=200))
def test_an_option_is_read_as_the_grader_reads_it(text):
    is_read = parse_choice(text, OPTION.choices) is not None
    assert (reason_of(OPTION, text) is None) == (is_read and bool(text.strip()))


@given(st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=5) | st.none(), max_size=4),
       st.data())  # fmt: skip
def test_json_is_usable_whole_and_in_no_part(value, data):
    text = json.dumps(value)
    assert reason_of(JsonText(), text) is None
    cut = data.draw(st.integers(0, len(text) - 1))
    assert reason_of(JsonText(), text[:cut]) is not None
    assert (
        reason_of(JsonText(), text + data.draw(st.sampled_from(["}", "x", text, ",", "```"])))
        is Reason.NOT_JSON
    )


CHOICES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "type",
                    "name",
                    "arguments",
                    "refusal",
                    "text",
                ]
            ),
            inner,
        )
    ),
)


@given(st.dictionaries(st.sampled_from(["message", "text", "finish_reason"]), CHOICES),
       st.sampled_from([JSON, OPTION, NUMBER, TOOL, Code(), ShortText(), LongText()]))  # fmt: skip
def test_whatever_a_choice_holds_it_is_judged(choice, form):
    judge_usable(form, Said.of_choice(choice))


def test_the_order_of_reasons_goes_from_some_use_to_none():
    assert Reason.SCHEMA_VIOLATED.rank < Reason.NOT_JSON.rank < Reason.REFUSED.rank < Reason.EMPTY.rank


def test_recorded_answers_say_which_could_be_read():
    nan = np.nan
    answer = np.array([["0", None, None, "1"], [None, None, "2", "1"]], object)
    score = np.array([[1, 0, nan, nan], [0, 1, 1, 0]], float)
    found = usable_answers(Replies(answer, np.full(answer.shape, nan)), score)
    assert found.dtype == bool
    assert found.tolist() == [[True, True, False, False], [False, True, True, True]]
    nobody = Replies(np.empty((0, 3), object), np.empty((0, 3)))
    assert usable_answers(nobody, np.empty((0, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match="belong together"):
        usable_answers(nobody, np.empty((1, 3)))
