"""What fits an answer to a request grades it: its form, users, agreement; nothing is graded twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.answering.round_money import RoundMoney
from pipelines.learning.recorded_requests import read_requests
from pipelines.traffic.as_questions import question_rows, served_rows
from pipelines.traffic.choosing import choose_among
from pipelines.traffic.grading import GradedAnswers, grade_answers, read_asked
from pipelines.traffic.settings import ShadowSettings
from warehouse import Warehouse
from warehouse.traffic.texts import RecordedText

OPTIONS = "Which is a metal? Choose the right option.\nA. iron\nB. air\nC. wood"
NUMBER = "What is 6 times 7? Give only the number."
POEM = "Write a poem on rain."


def grade(
    folder: Path,
    prompt: str,
    said: dict[str, str],
    *,
    form: str,
    feedback: float | None = None,
    right: str | None = None,
    wanted: dict | None = None,
) -> tuple[dict[tuple[str, str], float], GradedAnswers]:
    """Serve ``said["a"]``, let the others answer in the shadow, grade; scores by expert and grader."""
    store = Warehouse(folder / "warehouse")
    now = datetime.now(UTC)
    row = {
        "request_id": "r", "role": "champion", "expert": "a", "expert_version": "1", "form": form,
        "created_at": now, "recording": "texts", "round": "serve-2026-01-01", "answer_cost_usd": 0.1,
    }  # fmt: skip
    store.append("traffic", pa.Table.from_pylist([row]), round="serve-2026-01-01")
    if feedback is not None or right is not None:
        told = {"feedback_id": "f", "request_id": "r", "level": "request", "kind": "score", "source": "api",
                "score": feedback, "demonstration": right, "created_at": now}  # fmt: skip
        store.append("feedback", pa.Table.from_pylist([told]), round="serve-2026-01-01")
    requests = read_requests(store)
    spoken = [{"role": "user", "content": prompt}]
    texts = {"r": RecordedText("r", spoken, said["a"], "a", response_format=wanted)}
    questions = question_rows(requests, texts, round="learn000")
    store.append("questions", questions, round="learn000")
    served = served_rows(requests, questions, texts)
    store.append("answers", served, round="serve-2026-01-01", expert="a")
    name = questions["question_id"][0].as_py()
    for expert in sorted(said.keys() - {"a"}):
        answer = {
            "question_id": name,
            "expert": expert,
            "expert_version": "1",
            "text": said[expert],
            "cost_usd": 0.0,
        }
        store.append("answers", pa.Table.from_pylist([answer]), round="learn000", expert=expert)
    asked = read_asked(requests, questions, texts)
    money = RoundMoney(store, "learn000", 0.0)
    assert money.spent_usd() == 0, "what was served was paid in its own round"

    def run() -> GradedAnswers:
        return grade_answers(
            store, asked, judge=None, judge_by="rubric", money=money, run_id="", connect=lambda: None
        )

    graded = run()
    rows = store.scan("judgements").to_pylist()
    again = run()
    assert again.by == {}
    assert again.open == graded.open
    return {(row["expert"], row["grader"]): row["score"] for row in rows}, graded


def test_what_nobody_can_read_is_wrong_whatever_others_say(tmp_path: Path) -> None:
    scores, graded = grade(tmp_path, OPTIONS, {"a": "A", "b": "I like trains"}, form="option")
    assert scores == {("b", "form@1"): 0.0}
    assert graded.open == 1


def test_an_endorsed_answer_is_what_others_are_compared_with(tmp_path: Path) -> None:
    said = {"a": "A", "b": "It is A.", "c": "B", "d": "who knows"}
    scores, graded = grade(tmp_path, OPTIONS, said, form="option", feedback=1.0)
    assert scores == {("a", "user@1"): 1.0, ("b", "user@1"): 1.0, ("c", "user@1"): 0.0, ("d", "form@1"): 0.0}
    assert graded.open == 0


def test_a_demonstration_goes_before_what_was_served(tmp_path: Path) -> None:
    scores, _ = grade(tmp_path, NUMBER, {"a": "41", "b": "42", "c": "42.0"}, form="number", right="42")
    assert scores == {("a", "user@1"): 0.0, ("b", "user@1"): 1.0, ("c", "user@1"): 1.0}


def test_a_thumb_down_says_nothing_of_the_others(tmp_path: Path) -> None:
    scores, graded = grade(tmp_path, OPTIONS, {"a": "A", "b": "B"}, form="option", feedback=0.0)
    assert scores == {}
    assert graded.open == 2


def test_three_that_can_be_compared_grade_each_other(tmp_path: Path) -> None:
    scores, _ = grade(tmp_path, NUMBER, {"a": "42", "b": "42", "c": "41"}, form="number")
    half = pytest.approx(0.5)
    assert scores == {("a", "agreement@1"): half, ("b", "agreement@1"): half, ("c", "agreement@1"): 0.0}


def test_json_is_held_against_the_schema_that_the_request_named(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "count", "schema": schema}}
    said = {"a": '{"n": 1}', "b": '{"n": "one"}', "c": '{"n": 2}', "d": "one"}
    scores, graded = grade(tmp_path, "How many?", said, form="json", wanted=wanted)
    assert scores == {("b", "form@1"): 0.0, ("d", "form@1"): 0.0}
    assert graded.open == 2
    prompt = Warehouse(tmp_path / "warehouse").scan("questions")["prompt"][0].as_py()
    assert '"required": ["n"]' in prompt, "whoever is asked again has to know the schema"
    assert prompt.endswith("How many?")


def test_poems_are_for_a_judge(tmp_path: Path) -> None:
    said = dict.fromkeys("abc", "Rain falls.")
    scores, graded = grade(tmp_path, POEM, said, form="long_text", feedback=1.0)
    assert scores == {}
    assert graded.open == 3


@pytest.mark.parametrize(
    ("form", "wanted", "asks"),
    [
        ("json", {"type": "json_object"}, True),
        ("json", None, False),  # recorded before the field was: nobody could know what is wanted
        ("tool_call", None, False),
        ("long_text", None, True),
    ],
)
def test_what_is_asked_again_says_what_is_wanted(
    tmp_path: Path, form: str, wanted: dict | None, asks
) -> None:
    from experts import load_catalogue
    from orchestrator import load_embedder
    from orchestrator.text.embedder import weights_key

    store, reader = Warehouse(tmp_path / "warehouse"), load_embedder("wordllama")
    specs = load_catalogue().experts
    row = {
        "request_id": "r", "role": "champion", "expert": specs[0].name, "expert_version": "1", "form": form,
        "created_at": datetime.now(UTC), "recording": "texts", "round": "serve-2026-01-01",
        "embedder": weights_key(reader.weights), "embedding": reader.embed(["Count."])[0].tolist(),
        "prompt_tokens": 5, "completion_tokens": 5, "text_hash": "t",
    }  # fmt: skip
    store.append("traffic", pa.Table.from_pylist([row]), round="serve-2026-01-01")
    spoken = [{"role": "user", "content": "Count."}]
    texts = {"r": RecordedText("r", spoken, "{}", specs[0].name, response_format=wanted)}
    seen = reader.embed(["Something else."])
    sample = choose_among(
        read_requests(store), texts, np.asarray(seen, np.float32), reader, specs, None, ShadowSettings(), 1.0
    )
    assert (sample.request_ids == ("r",)) is asks
