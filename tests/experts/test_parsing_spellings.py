"""Answers as models and judges write them: JSON, markup, thinking, several answers, and hostile lengths."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.catalogue.prompts import LETTERS
from experts.grading.exact import matches
from experts.grading.parsing import final_answer, parse_choice
from experts.grading.plain import without_thinking

METALS = ["oxygen", "iron", "helium", "neon"]

JSON_B = r"""
{"answer": "B"}
```json|{"answer": "B"}|```
{"reasoning": "Iron conducts.", "answer": "B"}
{"choice": "B"}
{'answer': 'B'}
{"answer": "iron"}
{"answer": "B. iron"}
{"final_answer": "B"}
[{"answer": "A"}, {"answer": "B"}]
{"answer": ["B"]}
{"answer": {"letter": "B", "text": "iron"}}
{"answer": {"B": "iron"}}
{"B": "iron"}
Sure! Here it is:|{"answer": "B", "confidence": 0.9}|Hope it helps, A is my friend.
{"answer": "B", "reasoning": "A is wrong and C
{'answer': 'B', 'explanation': 'it's a metal'}
{answer: "B"}
{"answer": B}
{"explanation": "I said {\"answer\": \"A\"} before", "answer": "B"}
{"response": {"answer": {"choice": "B"}}}
{"name": "answer", "arguments": {"choice": "B"}}
{"arguments": "{\"answer\": \"B\"}"}
{"answer": "The answer is B because iron conducts"}
{"answer": null, "choice": "B"}
{"Answer": "b"}
{"answer": "Option B"}
{"thought": "The answer is A?", "answer": "B"}
{“answer”: “B”}
{"answer": "B",}
["B"]
{"verdict": "B", "score": 1}
"""

SPELT_B = r"""
**B**
\boxed{B}
$\text{B}$
\mathbf{(B)}
\boxed{\mathrm{B}}
B)
B:
B - iron
B – iron
[[B]]
<b>B</b>
“B”
Option B
Ｂ
Ⓑ
（Ｂ）
Answer: В
iron (B)
Answer → B
Ans: B
My choice: B
I choose B.
I'd go with (B).
B is the correct answer.
The correct answer is option B.
The answer is clearly B.
The answer is: **B. iron**
答案是B。
Ответ: B
<answer>B
<answer>|B|</answer>
Not A, not C, not D. So B.
A is wrong. C is wrong. D is wrong. So B.
The answer is not A but B.
The answer isn't A, it's B.
The answer is not A. It is B.
I first thought C, but the answer is B
The answer is C. Wait, no: the answer is B.
I think it could be A. However, B is correct.
<think>x</think>The answer is B.
thought|</thinking>|B
<thinking>A</thinking><answer>B</answer>
[THINK]A[/THINK]B
◁think▷A◁/think▷B
<|channel|>analysis<|message|>A it is<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>
<reasoning>The answer is A</reasoning>|B
B|<think>but maybe A
"""


def lines_of(table: str) -> list[str]:
    return [line.replace("|\n", "\n") for line in table.strip().splitlines()]


@pytest.mark.parametrize("text", [*lines_of(JSON_B), *lines_of(SPELT_B)])
def test_every_spelling_of_b_is_read(text: str) -> None:
    parts = text if "<|" in text else text.replace("|", "\n")
    assert parse_choice(parts, METALS) == 1


@pytest.mark.parametrize(
    "text",
    [
        "<think>The answer is B",
        '<think>{"answer": "B"}',
        '{"answer": ["A", "B"]}',
        "A, B",
        "A/B",
        "Both A and C",
        "neither A nor B",
        "A is not a metal",
        "Vitamin C is good",
        "It is iron",
        "Ответ: Б",
    ],
)
def test_what_names_no_option(text: str) -> None:
    assert parse_choice(text, METALS) is None


@pytest.mark.parametrize("text", ['{"answer": "C"}', '```json\n{"verdict": "C"}\n```', '{"level": "right"}'])
def test_a_judges_level_in_json(text: str) -> None:
    assert parse_choice(text, ["wrong, or no answer", "partly right", "right"]) == 2


WRITE = (
    lambda key, value: json.dumps({key: value}),
    lambda key, value: json.dumps(
        {"reasoning": 'I said {"answer": "Z"} first.', key: value, "confidence": 0.7}, indent=2
    ),
    lambda key, value: f"```json\n{json.dumps({key: value})}\n```\nA last word.",
    lambda key, value: "So:\n" + json.dumps({"result": {key: value}}),
    lambda key, value: json.dumps([{key: "wrong"}, {key: value}]),
    lambda key, value: "{" + f"'{key}': '{value}'" + "}",
    lambda key, value: (
        f"<think>{json.dumps({key: 'Z'})}</think>" + json.dumps({key: value}, ensure_ascii=False)
    ),
)


@given(
    st.integers(0, 25),
    st.sampled_from(["answer", "final_answer", "Answer", "choice", "correct answer", "finalAnswer"]),
    st.sampled_from(WRITE),
    st.sampled_from(["{}", "({})", "{}.", "**{}**", "Option {}", "{}) thing", "\\text{{{}}}"]),
)
def test_a_letter_in_any_json_is_read_back(index, key, write, spelling) -> None:
    choices = [f"thing number {i}" for i in range(26)]
    assert parse_choice(write(key, spelling.format(LETTERS[index])), choices) == index


@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from(["answer", "final_answer", "result"]),
    st.sampled_from(WRITE),
)
def test_a_number_in_any_json_is_read_back(number, key, write) -> None:
    assert matches(write(key, number), str(number))
    assert not matches(write(key, number), str(number + 1))


@given(st.text(alphabet="abc <>/{}\n", max_size=80), st.sampled_from(["think", "thinking", "reasoning"]))
def test_nothing_after_an_unclosed_thought_is_an_answer(thought: str, tag: str) -> None:
    assert without_thinking(f"<{tag}>{thought}") == ""
    assert final_answer(f"<{tag}>{thought}</{tag}>\nParis") == "Paris"


VERDICTS = {
    "Option {}: {}.": ("no", "yes"),
    "{}: {}": ("wrong", "right"),
    "{}) {}": ("incorrect", "correct"),
    "({}) is {}, as one sees.": ("wrong", "correct"),
    "{}. This is {}.": ("not correct", "correct"),
    "- {} {}": ("❌", "✅"),
    "| {} | {} |": ("False", "True"),
}


@given(st.sampled_from(sorted(VERDICTS)), st.integers(0, 3), st.sampled_from(["\n", " "]))
def test_options_gone_through_one_by_one_are_read_by_their_verdicts(
    way: str, right: int, between: str
) -> None:
    said = VERDICTS[way]
    if between == " " and not way.endswith("."):
        between = "\n"
    text = between.join(way.format("ABCD"[i], said[i == right]) for i in range(4))
    assert parse_choice(text, METALS) == right
    assert parse_choice(f"{text}\n\nAnswer: A", METALS) == 0


@given(st.integers(0, 3), st.booleans())
def test_json_that_weighs_the_options_is_read_by_the_weights(right: int, yes_or_no: bool) -> None:
    weights = {
        letter: (i == right if yes_or_no else 0.7 if i == right else 0.1) for i, letter in enumerate("ABCD")
    }
    assert parse_choice(json.dumps(weights), METALS) == right
    assert parse_choice(json.dumps(dict.fromkeys("ABCD", False if yes_or_no else 0.25)), METALS) is None


@pytest.mark.parametrize(
    ("text", "choices", "index"),
    [
        ("A. No", ["No", "Yes"], 0),
        ("B) False", ["True", "False"], 1),
        ("B. No other metal rusts.", METALS, 1),
        ("I choose B over A", METALS, 1),
        ("Choose C rather than option B.", METALS, 2),
        ("The answer is A, B is wrong", METALS, 0),
        ("My answer: option (b)", METALS, 1),
        ("Die Antwort ist B.", METALS, 1),
    ],
)
def test_a_verdict_is_told_from_an_option_and_a_comparison_from_a_doubt(text, choices, index) -> None:
    assert parse_choice(text, choices) == index


HOSTILE = """
<answer> </answer> <answer \\boxed{ \\boxed{{ { } \\text{ ####@ # answer@is@ answer:@ answer@to@
option@ (A)@ A@or@ not@A@ A@is@wrong@ <think> </think> <think " ' {" {"a": {"answer": "answer":@
{"answer":@" 'answer':@' \\" 1 1. 1, 1@ 1/ 1/2@ 1^ - 1- 1.1. 1,111 1,11, $1 \\frac{1}{ √ 1: a1 @ \t
x\n \n * **A _ [ [[ ( ((A — В@ Ａ ½ <b <b@x= <| because since@, ,@not@ .@A ... it@is@A I@choose@ = 1=
% cm/ but@ not@A@but@ final@answer@-@ A@and@ B,@ analysis \\( “ 1\\times@10^ 1\u2009
"""


@pytest.mark.parametrize("unit", [*(u.replace("@", " ") for u in HOSTILE.split()), " ", "\n", "x\n"])
@pytest.mark.parametrize("before", ["", "answer is ", '{"answer": "'])
def test_reading_is_linear_in_the_length(unit: str, before: str) -> None:
    def seconds(length: int) -> float:
        text = before + (unit * (length // len(unit) + 1))[:length]
        began = time.process_time()
        parse_choice(text, METALS)
        matches(text, "12 cm")
        return time.process_time() - began

    shorter, longer = seconds(20_000), seconds(200_000)
    assert longer < 5
    assert longer < 15 * max(shorter, 0.02)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(lines_of(JSON_B) + lines_of(SPELT_B) + HOSTILE.split()), max_size=6).map(
        "\n".join
    )
)
def test_whatever_is_put_together_is_read_without_failing(text: str) -> None:
    assert parse_choice(text, METALS) in (None, 0, 1, 2, 3)
    assert isinstance(final_answer(text), str)
