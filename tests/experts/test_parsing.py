from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.catalogue.prompts import LETTERS, check_template, render_prompt
from experts.grading.parsing import final_answer, parse_choice

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
        # What chat models write around a letter.
        ("The correct answer is: B", 1),
        ("The correct answer is:\n\nB. Paris", 1),
        ("**Answer:** B", 1),
        ("**Answer**: **(B)** Paris", 1),
        ("## Final Answer\n\n**B**", 1),
        ("#### Step 1: look\nIt is in France.\n#### Answer: B", 1),
        ("<answer>B</answer>", 1),
        ("<answer>\n(B) Paris\n</answer>", 1),
        ("#### B", 1),
        ("The answer is $B$.", 1),
        (r"The answer is \(B\).", 1),
        (r"\boxed{(B)}", 1),
        (r"\boxed{\text{B}}", 1),
        (r"$\boxed{\textbf{(B)}\ \text{Paris}}$", 1),
        ("The answer to the question is B.", 1),
        ("The answer would be B", 1),
        ("The answer is B because it is in France.", 1),
        ("The answer is A because it is in Italy.", 0),
        ("The right option is B", 1),
        ("The best choice is (B).", 1),
        ("b", 1),
        ("(b) Paris", 1),
        ("A Coru\u00f1a", 3),
        ("The answer is **A Coru\u00f1a**.", 3),
        ("The answer is Paris, since it is in France.", 1),
        ("B is correct.", 1),
        ("<think>Perhaps the answer is A.</think>\n\nB", 1),
        ("One could say the answer is A, but the answer is B.", 1),
        ("The answer is B. I hope this answer is helpful.", 1),
        # Other options are spoken of as well.
        ("The answer is B, because option A is wrong.", 1),
        ("B. Option A is incorrect since Rome is in Italy.", 1),
        ("Answer: B\n\nExplanation: Choice C is in Germany.", 1),
        ("Option B is right. Option C is wrong.", 1),
        # These name none.
        ("Answer: A good guess is not possible", None),
        ("The answer is B or C.", None),
        ("The answer is not B.", None),
        ("The answer is B-52", None),
        ("The answer is either of them", None),
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
        ("The answer is $x^2$.", "x^2"),
        ("The answer is x**2", "x**2"),
        (r"The answer is \(\frac{1}{2}\).", r"\frac{1}{2}"),
        ("\\boxed{5}\n\nThis answer is in metres.", "5"),
        ("The answer is found by adding:\n#### 5", "5"),
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
