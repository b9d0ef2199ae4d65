from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.parsing import final_answer, parse_choice
from experts.prompts import LETTERS, check_template, render_prompt

CITIES = ["Rome", "Paris", "Berlin", "A Coruña"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("B", 1),
        (" B.", 1),
        ("(B)", 1),
        ("**B**", 1),
        ("B. Paris", 1),
        ("B) Paris", 1),
        ("The answer is B.", 1),
        ("The answer is (C), because of the wall.", 2),
        ("Answer: A\nAnswer: C", 2),
        ("Let us see. Option A is wrong. The correct answer is **D**", 3),
        ("So \\boxed{B}", 1),
        ("paris", 1),
        ("Paris.", 1),
        ("The answer is Berlin.", 2),
        ("<answer>Rome</answer>", 0),
        ("A city in France is nice", None),
        ("I do not know", None),
        ("", None),
        ("E", None),
        ("Answer: Z", None),
    ],
)
def test_parse_choice(text: str, index: int | None) -> None:
    assert parse_choice(text, CITIES) == index


@given(st.text(), st.lists(st.text(), min_size=1, max_size=26))
def test_parse_choice_never_fails_nor_leaves_the_range(text: str, choices: list[str]) -> None:
    found = parse_choice(text, choices)
    assert found is None or 0 <= found < len(choices)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("First 2, then 3.\n#### 5", "5"),
        ("so we get \\boxed{\\frac{1}{2}} and done", "\\frac{1}{2}"),
        ("The answer is 42.", "42"),
        ("<answer> 7 </answer> trailing", "7"),
        ("\n\n Paris \n\nQuestion: next", "Paris"),
        ("", ""),
    ],
)
def test_final_answer(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@given(st.text(), st.lists(st.text(), max_size=26))
def test_rendering_keeps_braces_of_the_question(question: str, choices: list[str]) -> None:
    rendered = render_prompt("{question}|{choices}|{{}}", question, choices)
    assert rendered.startswith(question + "|")
    assert rendered.endswith("|{}")
    assert all(f"{letter}. {c}" in rendered for letter, c in zip(LETTERS, choices, strict=False))


@pytest.mark.parametrize("template", ["no place", "{question", "{question} {other}", "{question} {}"])
def test_broken_templates_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_template(template)
