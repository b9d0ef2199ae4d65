from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from experts import (
    Rubric,
    judge_grader,
    judgements,
    load_catalogue,
    pair_questions,
    read_pair_scores,
    read_rubric_scores,
    rubric_questions,
)
from experts.grading.rubric import Level
from warehouse import JUDGEMENTS, QUESTIONS

JUDGED = {"prompt": "Why is the sky blue?", "answer": "Rayleigh scattering", "kind": "judged"}


def replies(choices: list[int | None], logprobs: list[list[float] | None] | None = None) -> pa.Table:
    return pa.table(
        {
            "choice": pa.array(choices, pa.int32()),
            "choice_logprobs": pa.array(logprobs or [None] * len(choices), pa.list_(pa.float32())),
            "text": [None if c is None else "x" for c in choices],
            "cost_usd": pa.array([0.5] * len(choices), pa.float64()),
        }
    )


def test_a_judge_is_asked_a_multiple_choice_question(questions_of) -> None:
    asked = rubric_questions(questions_of([JUDGED]), ["It scatters."], Rubric())
    assert asked.schema == QUESTIONS
    (row,) = asked.to_pylist()
    assert row["choices"] == ["wrong, or no answer", "partly right", "right"]
    for part in ("Why is the sky blue?", "Rayleigh scattering", "It scatters."):
        assert part in row["prompt"]
    again = rubric_questions(questions_of([JUDGED]), ["It scatters."], Rubric())
    assert again["question_id"].equals(asked["question_id"])  # so that it is never paid twice
    other = rubric_questions(questions_of([JUDGED]), ["Because."], Rubric())
    assert not other["question_id"].equals(asked["question_id"])


def test_scores_are_expected_levels() -> None:
    even = [float(np.log(1 / 3))] * 3
    found = read_rubric_scores(replies([2, 0, None, 1], [None, [0.0, -99.0, -99.0], None, even]), Rubric())
    assert found == pytest.approx([1.0, 0.0, None, 0.5])


def test_a_judge_that_favours_the_first_place_gives_even_scores(questions_of) -> None:
    first, second = pair_questions(questions_of([JUDGED]), ["mine"], ["theirs"], Rubric())
    assert first["prompt"][0].as_py().index("mine") < first["prompt"][0].as_py().index("theirs")
    assert second["prompt"][0].as_py().index("theirs") < second["prompt"][0].as_py().index("mine")
    always_first = replies([0])
    assert read_pair_scores(always_first, always_first) == [0.5]
    assert read_pair_scores(replies([0]), replies([1])) == [1.0]
    assert read_pair_scores(replies([1]), replies([0])) == [0.0]
    assert read_pair_scores(replies([2]), replies([2])) == [0.5]
    assert read_pair_scores(replies([0]), replies([None])) == [None]


def test_judgements_carry_grader_and_the_judges_cost() -> None:
    answers = pa.table({"question_id": ["a", "b"], "expert": ["x", "x"], "expert_version": ["1", "1"]})
    both = [replies([0, 1]), replies([1, None])]
    rows = judgements(answers, [1.0, None], both, grader="judge:j/1/pairs/r@2", round="r0")
    assert rows.schema.names == JUDGEMENTS.names
    assert rows.select(["question_id", "score", "grader", "cost_usd"]).to_pylist() == [
        {"question_id": "a", "score": 1.0, "grader": "judge:j/1/pairs/r@2", "cost_usd": 1.0}
    ]


def test_the_grader_names_judge_rubric_and_versions() -> None:
    judge = load_catalogue().experts[0]
    strict = Rubric(name="style", criteria="Judge the style.")
    names = {
        judge_grader(judge, Rubric(), pairs=False),
        judge_grader(judge, Rubric(), pairs=True),
        judge_grader(judge, strict, pairs=False),
        judge_grader(judge.model_copy(update={"temperature": 1.0}), Rubric(), pairs=False),
    }
    assert len(names) == 4
    assert all(name.startswith(f"judge:{judge.name}/") for name in names)


def test_levels_must_rise() -> None:
    with pytest.raises(ValidationError, match="lowest score"):
        Rubric(levels=(Level(meaning="good", score=1.0), Level(meaning="bad", score=0.0)))
