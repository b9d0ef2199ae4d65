from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from experts.grading.replies import comparable_answer, load_replies, option_confidence
from warehouse import ANSWERS, Warehouse, load_outcomes


@pytest.mark.parametrize(
    ("kind", "choice", "text", "answer"),
    [
        ("choice", 3, "anything", "3"),
        ("choice", None, "B or C", None),
        ("exact", None, "3 + 4 = 7\n#### 7", "7.0"),
        ("exact", None, "so \\boxed{7.0}", "7.0"),
        ("exact", None, "The answer is Paris.", "paris"),
        ("exact", None, "The answer is **Paris**.", "paris"),
        ("exact", None, "**Paris**", "paris"),
        ("exact", None, "\\boxed{1{,}000}", "1000.0"),
        ("exact", None, "  \n", None),
        ("judged", None, None, None),
    ],
)
def test_replies_that_say_the_same_are_equal(
    kind: str, choice: int | None, text: str | None, answer: str | None
) -> None:
    assert comparable_answer(kind, choice, text) == answer


def test_confidence_is_the_share_of_the_likeliest_option() -> None:
    assert option_confidence([np.log(6), np.log(3), np.log(3)]) == pytest.approx(0.5)
    assert option_confidence([-800.0, -900.0]) == pytest.approx(1)
    assert np.isnan([option_confidence([]), option_confidence(None), option_confidence([-1.0])]).all()


def test_only_the_newest_version_counts_and_failures_say_nothing(tmp_path: Path, questions_of) -> None:
    questions = questions_of(
        [{"prompt": "2 + 2?", "choices": ["3", "4"], "answer": "1"}, {"prompt": "1 + 1?", "answer": "2"}]
    )
    choice, exact = questions["question_id"].to_pylist()
    warehouse = Warehouse(tmp_path)
    warehouse.append("questions", questions, round="old")
    both = {"score": 1.0, "cost_usd": 1e-6}
    rows = [
        {"question_id": choice, "expert": "a", "choice": 1, "choice_logprobs": [-2.0, -1.0], **both},
        {"question_id": exact, "expert": "a", "text": "The answer is 2.0", **both},
        {"question_id": exact, "expert": "b", "error": "Timeout: 5 s", "text": "2"},
        {"question_id": choice, "expert": "b", "choice": 0, **both},
    ]
    for name, part in (("old", rows[:1]), ("new", rows)):
        changed = [
            {**row, "expert_version": name, "choice": 0 if name == "old" else row.get("choice")}
            for row in part
        ]
        schema = pa.schema([field for field in ANSWERS if field.name != "created_at"])
        warehouse.append("answers", pa.Table.from_pylist(changed, schema), round=name)
    outcomes = load_outcomes(warehouse)
    replies = load_replies(warehouse, outcomes.question_ids.tolist(), outcomes.experts)
    row = {name: index for index, name in enumerate(outcomes.question_ids)}
    assert outcomes.experts == ("a", "b")
    assert replies.answer[row[choice]].tolist() == ["1", "0"]
    assert replies.answer[row[exact]].tolist() == ["2.0", None]
    sure = replies.confidence[row[choice], 0]
    assert sure == pytest.approx(1 / (1 + np.exp(-1)))
    assert np.isfinite(replies.confidence).sum() == 1
