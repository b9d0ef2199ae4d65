"""Paid APIs through the whole of answering: one bad reply costs one cell, and nobody asks beyond the cap."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from experts import ExpertSpec
from pipelines.answering.bulk import answer_questions, answer_with_all
from pipelines.answering.judging import judge_answers
from pipelines.answering.round_money import RoundMoney
from pipelines.questions import make_questions as generate_questions
from pipelines.questions.brief import Brief, GapBrief
from pipelines.questions.sources.base import Request
from pipelines.questions.sources.expert import ExpertSource
from tests.billing_api import serve_billing
from tests.scripted_api import ChatHandler, completion, serve_chat
from warehouse import QUESTIONS, Warehouse, question_id

pytestmark = pytest.mark.e2e

PRICE = {"usd_per_mtok_in": 1000.0, "usd_per_mtok_out": 1000.0}


def make_spec(url: str, name: str, **fields: Any) -> ExpertSpec:
    base: dict[str, Any] = {"name": name, "backend": "openai", "model": name, "base_url": url, "price": PRICE}
    base |= {"scoring": "generate", "max_retries": 0, "max_tokens": 16, "concurrency": 4}
    return ExpertSpec.model_validate(base | fields)


def make_questions(prompts: list[str], kind: str = "exact") -> pa.Table:
    rows = [
        {"question_id": question_id(p, None, "Paris"), "source": "test", "domain": "d", "prompt": p,
         "answer": "Paris", "kind": kind} for p in prompts
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def with_choice(**changes: Any) -> str:
    body = completion("Paris")
    body["choices"][0] |= changes
    return json.dumps(body)


def with_usage(usage: Any) -> str:
    return json.dumps(completion("Paris") | {"usage": usage})


#: By the number in the prompt: status, body, and what becomes of it.
ODD: dict[int, tuple[int, str, str]] = {
    3: (200, with_usage({"prompt_tokens": -1, "completion_tokens": math.nan}), "answered"),
    5: (200, with_usage({"prompt_tokens": 10**9, "completion_tokens": 10**9}), "answered"),
    7: (200, with_usage(None), "answered"),
    8: (200, with_usage(["many"]), "answered"),
    9: (200, with_choice(message={"content": "Paris \ud83d"}), "answered"),
    11: (200, with_choice(message={"content": None}, finish_reason="content_filter"), "error"),
    13: (400, '{"error": {"message": "flagged by our moderation"}}', "error"),
    14: (400, '{"error": {"message": "maximum context length is 8"}}', "error"),
    15: (200, '{"error": {"message": "overloaded", "code": 529}}', "open"),
    17: (200, '{"choices": [{"mess', "open"),
    18: (200, "<html>login</html>", "open"),
    19: (200, "{}", "open"),
    21: (503, "", "open"),
    22: (0, "", "open"),
}  # fmt: skip


class OddHandler(ChatHandler):
    def act(self, body: dict[str, Any]) -> None:
        number = int("".join(filter(str.isdigit, body["messages"][0]["content"])))
        status, text, _ = ODD.get(number, (200, json.dumps(completion("Paris")), ""))
        if status == 0 and body["model"] == "odd":
            self.cut()
        elif body["model"] == "odd":
            self.send(status, text)
        else:
            self.reply(completion("Paris"))


def test_each_bad_reply_costs_its_own_cell(tmp_path: Path, ray_cluster: None) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions([f"Is {i} the capital?" for i in range(32)])
    number = {row["question_id"]: i for i, row in enumerate(questions.to_pylist())}
    with serve_chat(OddHandler) as url:
        specs = [make_spec(url, "odd"), make_spec(url, "good")]
        cap_usd = 30.0
        receipts = answer_with_all(store, specs, questions, round="r", run_id="1", budget_usd=cap_usd)
    assert (receipts[1].asked, receipts[1].failed, receipts[1].problem) == (32, 0, None)
    open_count = sum(fate == "open" for _, _, fate in ODD.values())
    assert (receipts[0].asked, receipts[0].unasked) == (32 - open_count, open_count)
    found = Counter[str]()
    for row in store.answers_of("odd", specs[0].version).to_pylist():
        fate = ODD.get(number[row["question_id"]], (0, "", "answered"))[2]
        assert (row["error"] is None) == (fate == "answered"), row
        found[fate] += 1
        if fate == "answered":
            assert 0 < row["cost_usd"] < 1.0
            assert row["score"] is not None
        else:
            assert row["score"] is None
    assert found == {"answered": 32 - open_count - 3, "error": 3}
    money = RoundMoney(store, "r", cap_usd)
    assert sum(store.scan("answers")["cost_usd"].drop_null().to_pylist()) < money.spent_usd() <= cap_usd
    assert not list(tmp_path.rglob("*.jsonl"))


def test_writers_validators_and_judges_count_in_a_cap(tmp_path: Path, ray_cluster: None) -> None:
    """Calls that fail and are billed included: nobody is asked for what the cap does not hold any more."""
    store = Warehouse(tmp_path)
    shelf = generate_questions(["geography/capital"], 30)
    store.append("questions", shelf, round="r0")
    gap = GapBrief(
        "capitals", ("geography",), "Ask about capitals.", tuple(shelf["question_id"].to_pylist()[:3])
    )
    essays = make_questions([f"Why is town {i} well known?" for i in range(12)], "judged")
    store.append("questions", essays, round="r")

    def answer(model: str, prompt: str) -> str:
        if model == "writer":
            return f"Which town lies on river {hash(prompt) % 10**9}?\nA. Oslo\nB. Rome\nAnswer: A"
        return "A"

    with serve_billing(answer, fault_rate=0.2) as (url, books):
        roles = [make_spec(url, name) for name in ("writer", "one", "two", "judge", "free")]
        writer, *validators, judge, writes_essays = roles

        def billed_usd() -> float:
            return sum(books.tokens.values()) / 1000

        seen = []
        for cap_usd in (6.0, 30.0, 60.0):
            money = RoundMoney(store, "r", cap_usd)
            source = ExpertSource(writer, validators, store)
            brief = Brief((), (gap,))
            source.make(Request(4, "r", seed=0, brief=brief, budget_usd=money.left_usd(), run_id="1"))
            assert billed_usd() <= money.spent_usd() + 1e-9 <= cap_usd + 1e-6
            answer_questions(store, writes_essays, essays, round="r", run_id="1", budget_usd=money.left_usd())
            assert billed_usd() <= money.spent_usd() + 1e-9 <= cap_usd + 1e-6
            judge_answers(store, judge, round="r", run_id="1", budget_usd=money.left_usd())
            assert billed_usd() <= money.spent_usd() + 1e-9 <= cap_usd + 1e-6
            seen.append(dict(books.tokens))
    # The first cap ended among the writer's calls or the validators', the last let the judge speak.
    assert "judge" not in seen[0], seen
    assert {"writer", "one", "judge", "free"} <= set(seen[-1]), seen
