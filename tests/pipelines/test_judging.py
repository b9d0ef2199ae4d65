"""Which answers a judge is paid for; the judging itself is in test_answer.py."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from experts import ExpertSpec
from pipelines.answering.judging import _judged_answers, judge_answers
from warehouse import ANSWERS, QUESTIONS, NotReadyError, Warehouse, question_id

PROMPTS = ("Name a town.", "Name a river.")


@pytest.fixture
def store(tmp_path: Path) -> Warehouse:
    store = Warehouse(tmp_path)
    rows = [
        {"question_id": question_id(prompt, None, ""), "source": "t", "domain": "d", "prompt": prompt,
         "answer": "", "kind": "judged"} for prompt in PROMPTS
    ]  # fmt: skip
    store.append("questions", pa.Table.from_pylist(rows, schema=QUESTIONS), round="r")
    return store


def add(store: Warehouse, expert: str, day: int, version: str = "1", **fields: Any) -> None:
    ids = [question_id(prompt, None, "") for prompt in PROMPTS]
    base = {"expert": expert, "expert_version": version, "round": "r", "run_id": "r"}
    base["created_at"] = datetime(2026, 1, day, tzinfo=UTC)
    rows = [base | {"question_id": identity} | fields for identity in ids]
    table = pa.Table.from_pylist(rows, schema=ANSWERS)
    store.append("answers", table, round="r", expert=expert)


def waiting(store: Warehouse, opponent: str | None = None) -> list[tuple[str, ...]]:
    rows = _judged_answers(store, "judge", opponent).to_pylist()
    names = ("expert", "expert_version", "text", "other")
    return sorted({tuple(row[name] for name in names if name in row) for row in rows})


def test_only_current_answers_without_a_score_wait(store: Warehouse) -> None:
    add(store, "a", 1, version="old", text="Bonn")
    add(store, "a", 2, version="new", text="Paris")
    add(store, "recorded", 1, text="Rome", score=0.5, grader="recorded")
    add(store, "textless", 1, score=1.0, grader="recorded")
    add(store, "nothing", 1)
    add(store, "failed", 1, error="Timeout: 5 s", text="R")
    add(store, "judge", 1, text="Oslo")
    assert waiting(store) == [("a", "new", "Paris")]
    assert _judged_answers(store, "judge", None).num_rows == 2
    # What has a score is there to compare with, an older version is not.
    assert waiting(store, "recorded") == [("a", "new", "Paris", "Rome")]
    add(store, "b", 1, text="Bern")
    assert waiting(store, "a") == [("b", "1", "Bern", "Paris")]
    assert _judged_answers(store, "judge", "a").num_rows == 2


def test_without_an_open_answer_nobody_is_asked_and_no_cluster_needed(store: Warehouse) -> None:
    add(store, "recorded", 1, text="Rome", score=0.5, grader="recorded")
    price = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1}
    judge = ExpertSpec.model_validate({"name": "judge", "backend": "openai", "model": "m", "price": price})

    def connect() -> None:
        raise AssertionError("nothing is open")

    found = judge_answers(store, judge, round="r", run_id="1", budget_usd=1.0, connect=connect)
    assert (found.judged, found.unscored, found.judge.asked) == (0, 0, 0)
    with pytest.raises(NotReadyError, match="nobody"):
        judge_answers(store, judge, round="r", run_id="1", against="nobody")


def test_a_choice_whose_right_option_nobody_knows_is_judged(store: Warehouse) -> None:
    choices = ["iron", "gold"]
    questions = [
        {"question_id": question_id("Which rusts?", choices, answer), "source": "t", "domain": "d",
         "prompt": "Which rusts?", "choices": choices, "answer": answer, "kind": "choice"}
        for answer in ("", "0")
    ]  # fmt: skip
    store.append("questions", pa.Table.from_pylist(questions, schema=QUESTIONS), round="r")
    base = {
        "expert_version": "1",
        "round": "r",
        "run_id": "r",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    for expert, said in (("a", {"text": "It is A."}), ("b", {"choice": 1}), ("c", {"error": "Timeout"})):
        rows = [base | {"question_id": q["question_id"], "expert": expert} | said for q in questions]
        table = pa.Table.from_pylist(rows, schema=ANSWERS)
        store.append("answers", table, round="r", expert=expert)
    rows = _judged_answers(store, "judge", None).to_pylist()
    assert [(row["expert"], row["text"]) for row in rows] == [("a", "It is A."), ("b", "gold")]
    assert {row["prompt"] for row in rows} == {"Which rusts?\nA. iron\nB. gold"}
    assert {row["question_id"] for row in rows} == {questions[0]["question_id"]}
    (row,) = _judged_answers(store, "judge", "b").to_pylist()
    assert (row["text"], row["other"]) == ("It is A.", "gold")
