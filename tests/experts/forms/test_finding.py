"""The form of an answer, from what a request or a question says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.forms import (
    JsonText,
    NumberOrFormula,
    OptionLetter,
    SchemaError,
    ToolCall,
    form_of_question,
    form_of_request,
)
from experts.forms.asked import options_asked

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = [
    {"type": "function", "function": {"name": "one", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "two"}},
    {"type": "custom", "custom": {"name": "free"}},
]
WRONG = [{"type": "function", "function": {"name": "one", "parameters": {"type": "thing"}}}]


def name_of(text="Say it.", **body):
    return form_of_request(body, text).name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "long_text"),
        ({"max_tokens": 20}, "short_text"),
        ({"max_tokens": 20, "max_completion_tokens": 2_000}, "long_text"),
        ({"response_format": {"type": "text"}}, "long_text"),
        ({"response_format": {"type": "json_object"}}, "json"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}, "json"),
        ({"response_format": {"type": "json_schema", "json_schema": None}}, "json"),
        ({"response_format": "json"}, "long_text"),
        ({"tools": TOOLS}, "tool_call"),
        ({"tools": TOOLS, "tool_choice": "none"}, "long_text"),
        (
            {"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}},
            "tool_call",
        ),
        ({"tools": [], "tool_choice": "required"}, "long_text"),
        ({"tools": "odd"}, "long_text"),
    ],
)
def test_what_a_request_says_in_fields(body, name):
    assert name_of(**body) == name


@pytest.mark.parametrize(
    ("choice", "is_required", "names"),
    [
        ("auto", False, {"one", "two", "free"}),
        ("required", True, {"one", "two", "free"}),
        ({"type": "function", "function": {"name": "two"}}, True, {"two"}),
        ({"type": "custom", "custom": {"name": "free"}}, True, {"free"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "one"}}],
                },
            },
            True,
            {"one"},
        ),
    ],
)
def test_which_tools_may_be_called(choice, is_required, names):
    form = form_of_request({"tools": TOOLS, "tool_choice": choice}, "")
    assert isinstance(form, ToolCall)
    assert (form.is_required, set(form.tools)) == (is_required, names)
    assert form.tools.get("free") is None


def test_functions_of_old_are_tools():
    body = {"functions": [{"name": "one", "parameters": SCHEMA}], "function_call": {"name": "one"}}
    assert form_of_request(body, "") == ToolCall({"one": SCHEMA})


def test_a_tools_schema_that_is_none_is_refused_only_where_it_has_to_be_called():
    assert form_of_request({"tools": WRONG}, "").name == "tool_call"
    with pytest.raises(SchemaError, match="'one'"):
        form_of_request({"tools": WRONG, "tool_choice": "required"}, "")


LISTED = "Which is a metal?\n{}\nAnswer:"


@given(st.lists(st.text("abcdef ", min_size=1, max_size=12).filter(str.strip), min_size=2, max_size=10),
       st.sampled_from(["{}. {}", "{}) {}", "({}) {}", "- {}. {}"]))  # fmt: skip
def test_options_are_found_in_any_usual_writing(options, written):
    lines = "\n".join(written.format(chr(65 + n), option) for n, option in enumerate(options))
    form = form_of_request({}, LISTED.format(lines))
    assert form == OptionLetter(tuple(option.strip() for option in options))


def test_of_several_questions_the_last_counts():
    shown = LISTED.format("A. iron\nB. air") + " A\n\n"
    assert options_asked(shown + LISTED.format("A. one\nB. two\nC. three")) == ("one", "two", "three")


@pytest.mark.parametrize(
    "text",
    [
        "Plan my day:\nA. sleep\nB. eat",
        "My options are:\nA. stay\nB. go\nWrite a letter that explains them.",
        "Explain each of these.\nA. iron\nB. air",
        "A. only one\nWhich?",
        "B. two\nC. three\nWhich?",
        "A. x\nC. y\nWhich?",
        "",
    ],
)
def test_lists_that_ask_for_no_choice_are_texts(text):
    assert name_of(text) == "long_text"


def test_who_reads_log_probabilities_is_given_any_text():
    text = LISTED.format("A. iron\nB. air")
    assert name_of(text, max_tokens=1, logprobs=True) == "short_text"
    assert name_of(text, max_tokens=1) == "option"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is 3 + 4? Put your final answer within \\boxed{}.", "number"),
        ("Reply with a number and nothing else: 3 + 4", "number"),
        ("End with #### and the answer.", "number"),
        ("What is the number of people in Peru?", "long_text"),
        ("Return the number only.", "number"),
        ("Write your final answer after ####.", "number"),
        ("#### Summary\nTell me of Peru.", "long_text"),
        ("Express your answer as a common fraction.", "long_text"),
        ("Is it just a number of people, or all?", "long_text"),
        ("Write a function of n, which is just an integer.", "code"),
        ("Write a Python function that adds two numbers.", "code"),
        ("Fix this:\n```\nx = = 1\n```", "code"),
        ("Write a poem about spring.", "long_text"),
    ],
)
def test_what_a_text_asks_for(text, name):
    assert name_of(text) == name


@given(st.text(max_size=300), st.integers(1, 4000))
def test_any_text_has_a_form(text, limit):
    assert name_of(text, max_tokens=limit) in {"option", "number", "code", "short_text", "long_text"}


def test_a_long_text_is_looked_at_quickly():
    import time

    for text in ("write " * 200_000, "\nA. x" * 100_000, "\nA. x\nB. y" * 100_000, "a" * 10**6):
        began = time.process_time()
        name_of(text)
        assert time.process_time() - began < 0.2


def test_questions_have_the_same_types():
    assert form_of_question("choice", ["iron", "air"]) == OptionLetter(("iron", "air"))
    assert form_of_question("choice", ["iron", "air"], scoring="letter").name == "short_text"
    assert form_of_question("exact", answer="1,000") == NumberOrFormula()
    assert form_of_question("exact", answer="x^2 + 1") == NumberOrFormula()
    assert form_of_question("exact", answer="Lima").name == "short_text"
    assert form_of_question("judged").name == "long_text"
    assert form_of_request({"response_format": {"type": "json_object"}}, "") == JsonText()
