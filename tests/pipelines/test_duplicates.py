"""What is refused: the frozen set's questions in any guise, and what was asked before in other words."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.questions import make_questions
from pipelines.questions.draft import question_row, questions_table
from pipelines.questions.duplicates import QuestionIndex, find_contamination, screen_questions

LONG = (
    "A farmer keeps 12 cows and 30 hens in a barn by the river, and sells the milk of the cows at the market"
    " of the next town every morning. How many animals does he keep in all?"
)


def table(*prompts, choices=("1", "2", "3", "4"), answer="1"):
    return questions_table(
        question_row(
            prompt=prompt, choices=list(choices), answer=answer, kind="choice", source="s", domain="d",
            subject=None, round="r",
        )
        for prompt in prompts
    )  # fmt: skip


def index(questions):
    made = QuestionIndex()
    made.add(questions)
    return made


@pytest.mark.parametrize(
    ("prompt", "choices", "matches"),
    [
        (LONG, ("1", "2", "3", "4"), True),
        (LONG.upper() + "  ", ("1", "2", "3", "4"), True),
        (LONG, ("4", "3", "2", "1"), True),  # options in another order are no other question
        (LONG.replace("A farmer", "One farmer"), ("1", "2", "3", "4"), True),
        (LONG.replace("every morning", "each morning"), ("1", "2", "3", "4"), True),
        (LONG.replace("12 cows", "13 cows"), ("1", "2", "3", "4"), False),  # other numbers, another question
        ("What is the capital of Peru?", ("Lima", "Quito"), False),
    ],
)
def test_what_matches_the_frozen_set_is_refused_and_named(prompt, choices, matches):
    frozen = table(LONG)
    candidates = table(prompt, choices=choices)
    screened = screen_questions(candidates, frozen=index(frozen), known=QuestionIndex())
    assert screened.questions.num_rows == (not matches)
    if matches:
        (refusal,) = screened.refusals
        assert refusal.reason == "contamination"
        assert refusal.like == frozen["question_id"][0].as_py()
        assert refusal.like in str(refusal)
        assert candidates["question_id"][0].as_py() in str(refusal)
        assert "frozen evaluation set" in str(refusal)
        assert find_contamination(candidates, index(frozen)) == screened.refusals
    else:
        assert find_contamination(candidates, index(frozen)) == ()


def test_near_duplicates_are_kept_once_and_known_ones_may_be_asked_again():
    batch = table(LONG, LONG.replace("every", "each"), "What is the capital of Peru?")
    known = QuestionIndex()
    first = screen_questions(batch, frozen=QuestionIndex(), known=known)
    assert first.questions["prompt"].to_pylist() == [LONG, "What is the capital of Peru?"]
    assert [refusal.reason for refusal in first.refusals] == ["duplicate"]
    assert "% alike" in first.refusals[0].detail
    again = screen_questions(first.questions, frozen=QuestionIndex(), known=known)
    assert again.questions.num_rows == 0
    repeats = first.questions["question_id"].to_pylist()
    allowed = screen_questions(first.questions, frozen=QuestionIndex(), known=known, repeats=repeats)
    assert allowed.questions.num_rows == 2


def test_questions_of_one_template_stay_apart():
    """Capitals, sums and units differ in one word or number: none is another's near duplicate."""
    names = [
        "geography/capital",
        "arithmetic/chain_sum",
        "chemistry/symbol",
        "measurement",
        "logic/syllogism",
    ]
    made = make_questions(names, per_domain=60, seed=2, allow_fewer=True)
    screened = screen_questions(made, frozen=QuestionIndex(), known=QuestionIndex())
    assert len(screened.refusals) <= 0.02 * made.num_rows, screened.refusals[:3]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(LONG.split()), min_size=3, max_size=40))
def test_a_question_always_matches_itself(words):
    question = table(" ".join(words))
    shouted = table(" ".join(words).upper())
    for candidate in (question, shouted):
        screened = screen_questions(candidate, frozen=index(question), known=QuestionIndex())
        assert screened.questions.num_rows == 0


def test_nothing_comes_of_nothing():
    empty = table().slice(0)
    assert isinstance(empty, pa.Table)
    assert screen_questions(empty, frozen=QuestionIndex(), known=QuestionIndex()).questions.num_rows == 0
