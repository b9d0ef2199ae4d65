"""Answering through the real Ray Data pipeline, with an API that this process serves."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from experts import ExpertSpec
from pipelines.answering.bulk import _reason, answer_questions, answer_with_all
from pipelines.answering.judging import judge_answers
from pipelines.answering.open_work import open_questions
from pipelines.answering.receipt import AnswerReceipt
from pipelines.answering.taking_in import unrecorded_usd
from tests.scripted_api import ChatHandler, completion, serve_chat
from warehouse import QUESTIONS, InputError, NotReadyError, Warehouse, load_outcomes, question_id

pytestmark = pytest.mark.e2e


CALLS: Counter[str] = Counter()
DEADLY_ASKED = threading.Event()


class Handler(ChatHandler):
    """Model "down" fails, "judge" prefers what says Paris or stands first, all others answer Paris.

    "picky" refuses every request, "flaky" fails at first at odd countries and always refuses country 3,
    "slow" never answers in time, "half" sends half a surrogate pair, "deadly" kills who asks,
    and "second" waits until that one has been asked.
    """

    def act(self, body: dict[str, Any]) -> None:
        prompt = body["messages"][0]["content"]
        CALLS[body["model"]] += 1
        if body["model"] == "down":
            return self.send(503, "{}")
        if body["model"] == "picky" or (body["model"] == "flaky" and "country 3?" in prompt):
            return self.send(400, '{"error": {"message": "no such parameter"}}')
        if body["model"] == "flaky" and CALLS["flaky"] <= 8 and re.search("country [13579]", prompt):
            return self.send(429, '{"error": {"message": "slow down"}}')
        if body["model"] == "slow":
            time.sleep(3)
        if body["model"] == "second":
            DEADLY_ASKED.wait(60)
        if body["model"] == "deadly":
            DEADLY_ASKED.set()
            time.sleep(1)  # until the others are asked too
            os.kill(_caller(self.client_address[1]), signal.SIGKILL)
        if body["model"] == "half":
            return self.reply(completion("Paris \ud83d", body["model"]))
        text = "Paris" if "capital" in prompt else "Berlin"
        if body["model"] == "judge" and "[First answer]" in prompt:
            text = "A"
        elif body["model"] == "judge":
            text = "C" if "Paris" in prompt.split("[Answer to grade]")[1] else "A"
        return self.reply(completion(text, body["model"], tokens=(100, 10)))


def _caller(port: int) -> int:
    """The process, of those below this one, that holds the other end of a connection."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(c.laddr and c.laddr.port == port for c in process.net_connections()):
                return int(process.pid)
    raise LookupError(port)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_chat(Handler) as url:
        yield url


def expert(url: str, name: str, model: str = "m", **fields: Any) -> ExpertSpec:
    base: dict[str, Any] = {"name": name, "backend": "openai", "model": model, "base_url": url}
    base |= {"scoring": "generate", "max_retries": 0, "max_tokens": 16, "timeout_s": 120}
    base["price"] = {"usd_per_mtok_in": 100, "usd_per_mtok_out": 100}
    return ExpertSpec.model_validate(base | fields)


def make_questions(prompts: list[str], kind: str = "exact", answer: str = "Paris") -> pa.Table:
    rows = [
        {"question_id": question_id(p, None, answer), "source": "test", "domain": "d", "prompt": p,
         "answer": answer, "kind": kind} for p in prompts
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def test_failing_experts_are_taken_out_and_poison_is_a_row(
    tmp_path: Path, ray_cluster: None, url: str
) -> None:
    store = Warehouse(tmp_path)
    prompts = [f"What is the capital of country {i}?" for i in range(30)]
    poison = ["", " \n\t", "capital \x00\x01\x1b[2J\u202e of \ud7ff\uffff?"]
    questions = make_questions([*prompts, *poison])
    choices = [f"option {i}" for i in range(3000)]
    huge = {"question_id": question_id("capital?", choices, "0"), "source": "t", "domain": "d"}
    huge |= {"prompt": "capital?", "choices": choices, "answer": "0", "kind": "choice"}
    questions = pa.concat_tables([questions, pa.Table.from_pylist([huge], schema=QUESTIONS)])
    specs = [
        expert(url, "good"),
        expert(url, "down", model="down"),
        expert(url, "keyless", api_key_env="NO_SUCH_KEY_IS_SET"),
        expert(url, "other", model="m2"),
    ]
    receipts = {
        r.expert: r
        for r in answer_with_all(store, specs, questions, round="r", run_id="1", batch_questions=4)
    }
    for name in ("good", "other"):
        # Two of the poison questions are one: nothing but white space.
        errors = [e for e in store.answers_of(name, specs[0].version)["error"].to_pylist() if e]
        assert (receipts[name].asked, receipts[name].reused, receipts[name].failed) == (33, 1, 2), errors
        assert receipts[name].problem is None
    assert receipts["down"].unasked > 20
    assert "taken out" in (receipts["down"].problem or "")
    assert "server_error" in (receipts["down"].problem or "")
    assert (receipts["keyless"].asked, receipts["keyless"].unasked) == (0, 33)
    assert receipts["keyless"].problem == (
        "expert 'keyless' needs a key, and NO_SUCH_KEY_IS_SET is not set. "
        "To fix it: export NO_SUCH_KEY_IS_SET=..."
    )
    rows = {r["question_id"]: r for r in store.answers_of("good", specs[0].version).to_pylist()}
    for row in questions.to_pylist():
        error = rows[row["question_id"]]["error"]
        bad = not row["prompt"].strip() or row["choices"]
        assert bool(error and error.startswith("ValueError: ")) is bool(bad)
    # What says nothing about the question was not kept: the expert is asked again once it is up.
    mended = [expert(url, "down", model="down").model_copy(update={"model": "m"})]
    assert open_questions(store, specs[1], questions).num_rows == receipts["down"].unasked
    (receipt,) = answer_with_all(store, mended, questions, round="r", run_id="2")
    assert receipt.problem is None


def test_a_budget_is_held_and_the_rest_stays_open(tmp_path: Path, ray_cluster: None, url: str) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions([f"What is the capital of country {i}?" for i in range(60)])
    specs = [expert(url, "a"), expert(url, "b")]
    each = specs[0].price.cost_usd(100, 10)
    budget = 40.5 * each
    receipts = answer_with_all(
        store, specs, questions, round="r", run_id="1", batch_questions=8, budget_usd=budget
    )
    spent = sum(r.cost_usd for r in receipts)
    assert 30 * each < spent <= budget
    assert spent == pytest.approx(sum(store.scan("answers")["cost_usd"].to_pylist()))
    assert sum(r.asked + r.unasked for r in receipts) == 120
    assert {r.problem for r in receipts if r.unasked} == {"the budget is spent"}
    assert sum(r.failed for r in receipts) == 0
    again = answer_with_all(store, specs, questions, round="r", run_id="2", batch_questions=8)
    assert sum(r.asked for r in again) == sum(r.unasked for r in receipts)
    assert store.scan("answers").num_rows == 120
    with pytest.raises(InputError, match="budget"):
        answer_questions(store, specs[0], questions, round="r", run_id="3", budget_usd=float("nan"))


def test_an_expert_that_refuses_everything_leaves_all_open(
    tmp_path: Path, ray_cluster: None, url: str
) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions([f"What is the capital of country {i}?" for i in range(40)])
    picky = expert(url, "picky", model="picky", concurrency=4)
    (receipt,) = answer_with_all(store, [picky], questions, round="r", run_id="1", batch_questions=4)
    assert (receipt.asked, receipt.unasked) == (0, 40)
    assert receipt.problem is not None
    assert receipt.problem.startswith("taken out of the round: every answer failed: bad_request")
    assert CALLS["picky"] < 40


def test_what_passes_stays_open_and_what_is_the_questions_own_is_kept(
    tmp_path: Path, ray_cluster: None, url: str
) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions([f"What is the capital of country {i}?" for i in range(8)])
    flaky = expert(url, "flaky", model="flaky")
    (receipt,) = answer_with_all(store, [flaky], questions, round="r", run_id="1")
    assert (receipt.asked, receipt.failed, receipt.unasked) == (5, 1, 3)
    assert receipt.problem is not None
    assert receipt.problem.startswith("3 of 8 answers failed: overloaded")
    (again,) = answer_with_all(store, [flaky], questions, round="r", run_id="2")
    assert (again.asked, again.reused, again.failed, again.problem) == (3, 5, 0, None)


def test_money_without_a_row_counts_in_the_next_run(tmp_path: Path, ray_cluster: None, url: str) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions([f"What is the capital of country {i}?" for i in range(8)])
    slow = expert(url, "slow", model="slow", timeout_s=1.5)
    worst = 0.05  # of one question, about: the bytes of its request, a frame of 320, 16 tokens of the answer
    budget = 2.5 * worst
    (receipt,) = answer_with_all(store, [slow], questions, round="r", run_id="1", budget_usd=budget)
    assert (receipt.unasked, CALLS["slow"]) == (8, 2)
    spent = unrecorded_usd(store, "r")
    assert worst < spent <= budget
    left = budget - spent
    receipt = answer_questions(store, slow, questions, round="r", run_id="2", budget_usd=left)
    assert (CALLS["slow"], receipt.cost_usd) == (2, 0.0)
    receipt = answer_questions(store, slow, questions, round="r", run_id="3", budget_usd=worst * 1.5)
    assert CALLS["slow"] == 3
    assert receipt.cost_usd == pytest.approx(spent / 2)


def test_half_a_surrogate_pair_is_an_answer(tmp_path: Path, ray_cluster: None, url: str) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions(["What is the capital of France?"])
    receipt = answer_questions(store, expert(url, "half", model="half"), questions, round="r", run_id="1")
    assert (receipt.asked, receipt.problem) == (1, None)
    assert store.scan("answers")["text"].to_pylist() == ["Paris \ufffd"]


def test_the_money_of_the_dead_does_not_hold_up_the_others(
    tmp_path: Path, ray_cluster: None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.answering.stream.ACTOR_RESTARTS", 0)
    store = Warehouse(tmp_path)
    questions = make_questions([f"What is the capital of country {i}?" for i in range(14)])
    deadly = expert(url, "deadly", model="deadly", max_tokens=10_000)  # 1.05 USD at worst
    other = expert(url, "other", model="second", concurrency=1)  # 0.05 USD at worst, and 0.011 in the end
    work = {"deadly": questions.slice(0, 1), "other": questions}
    found: list[AnswerReceipt] = []

    def answer() -> None:
        specs = [deadly, other]
        found.extend(answer_with_all(store, specs, work, round="r", run_id="1", budget_usd=1.3))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    thread.join(90)
    assert not thread.is_alive()
    assert found[0].unasked == 1
    assert found[1].asked >= 12
    assert unrecorded_usd(store, "r") == pytest.approx(1.05, abs=0.01)


def test_the_reason_of_a_failed_run_is_its_cause(ray_cluster: None) -> None:
    import ray

    def fail(block: pa.Table) -> pa.Table:
        raise UnicodeError("half a pair")

    with pytest.raises(Exception, match="half a pair") as failure:
        ray.data.from_items([1]).map_batches(fail).take()
    assert _reason(failure.value) == "UnicodeError: half a pair"
    assert _reason(OSError("no space\nleft")) == "OSError: left"


def test_each_expert_can_have_its_own_questions(tmp_path: Path, ray_cluster: None, url: str) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions([f"What is the capital of country {i}?" for i in range(9)])
    specs = [expert(url, "a"), expert(url, "b")]
    work = {"a": questions.slice(0, 6), "b": questions.slice(6)}
    receipts = answer_with_all(store, specs, work, round="r", run_id="1")
    assert [r.asked for r in receipts] == [6, 3]
    with pytest.raises(InputError, match="'b'"):
        answer_with_all(store, specs, {"a": questions}, round="r", run_id="1")


def test_a_judge_scores_what_no_rule_can(tmp_path: Path, ray_cluster: None, url: str) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions(["Name the capital of France, and why.", "Name a town."], "judged", "Paris")
    store.append("questions", questions, round="r")
    answering, judge = expert(url, "a"), expert(url, "judge", model="judge")
    answer_questions(store, answering, questions, round="r", run_id="1")
    assert store.scan("answers")["score"].to_pylist() == [None, None]
    receipt = judge_answers(store, judge, round="r", run_id="1")
    assert (receipt.judged, receipt.reused, receipt.unscored, receipt.judge.asked) == (2, 0, 0, 2)
    assert receipt.judge.cost_usd == pytest.approx(2 * judge.price.cost_usd(100, 10))
    with store.connect() as connection:
        rows = connection.sql("select q.prompt, o.score, o.grader from outcomes o join questions q "
                              "using (question_id) order by 1").fetchall()  # fmt: skip
    assert [row[1] for row in rows] == [0.0, 1.0]  # a town, the capital
    assert all(row[2].startswith(f"judge:judge/{judge.version}/rubric/correctness@") for row in rows)
    assert load_outcomes(store).score.tolist() in ([[1.0], [0.0]], [[0.0], [1.0]])
    again = judge_answers(store, judge, round="r", run_id="2")
    assert (again.judged, again.reused, again.judge.asked) == (0, 2, 0)
    # This judge always prefers the first place; asked in both orders, that is worth nothing.
    pairs = judge_answers(store, judge, round="r", run_id="3", against="reference")
    # One of the answers is the reference itself: both orders are the same question, which is asked once.
    assert (pairs.judged, pairs.judge.asked) == (2, 3)
    even = store.scan("judgements").to_pylist()
    assert [row["score"] for row in even if "/pairs/" in row["grader"]] == [0.5, 0.5]
    with pytest.raises(NotReadyError, match="nobody"):
        judge_answers(store, judge, round="r", run_id="4", against="nobody")
