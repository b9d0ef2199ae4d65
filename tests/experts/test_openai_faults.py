"""An API that fails in every way at random: nothing lost, nothing paid twice, the cap never passed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from contextlib import AbstractContextManager
from typing import Any

import pytest

from experts import BUDGET_SPENT, ExpertSpec, SpendCap, answer_and_grade, build_backend
from tests.ports import free_port
from tests.scripted_api import ChatHandler, completion, serve_chat

PRICE = {"usd_per_mtok_in": 1000.0, "usd_per_mtok_out": 2000.0}
MAX_TOKENS = 8


class Bank:
    """What the API has charged, when it knows idempotency keys and when it does not."""

    def __init__(self, seed: int, fault_rate: float) -> None:
        self.rng = random.Random(seed)
        self.fault_rate = fault_rate
        self.by_key: dict[str, float] = {}
        self.worked = Counter[str]()  # times that the work was done and could be charged, by key
        self.charged_each_time = 0.0
        self.faults = Counter[str]()
        self.lock = threading.Lock()

    def fault(self) -> str | None:
        with self.lock:
            if self.rng.random() > self.fault_rate:
                return None
            kind = self.rng.choice(["429", "500", "hang", "cut before", "cut after", "garbled"])
            self.faults[kind] += 1
            return kind

    def charge(self, key: str, tokens: tuple[int, int]) -> None:
        usd = (tokens[0] * PRICE["usd_per_mtok_in"] + tokens[1] * PRICE["usd_per_mtok_out"]) / 1e6
        with self.lock:
            self.by_key.setdefault(key, usd)
            self.worked[key] += 1
            self.charged_each_time += usd


def serve(bank: Bank) -> AbstractContextManager[str]:
    class Handler(ChatHandler):
        def act(self, body: dict[str, Any]) -> None:
            prompt = body["messages"][0]["content"]
            fault = bank.fault()
            if fault == "429":
                return self.send(429, "{}", {"retry-after-ms": "20"})
            if fault == "500":
                return self.send(500, "oops")
            if fault == "cut before":
                return self.cut()
            tokens = (len(prompt.encode()) // 2 + 30, 1 + len(prompt) % MAX_TOKENS)
            bank.charge(self.headers["idempotency-key"], tokens)
            if fault == "hang":
                self.connection.recv(1)  # until the client gives up
                return self.cut()
            if fault == "cut after":
                return self.cut()
            if fault == "garbled":
                return self.send(200, '{"choices": [{"mess')
            return self.reply(completion("Paris", tokens=tokens))

    return serve_chat(Handler)


def make_spec(url: str, **fields: Any) -> ExpertSpec:
    base: dict[str, Any] = {"name": "api", "backend": "openai", "model": "m", "base_url": url, "price": PRICE}
    base |= {"scoring": "generate", "timeout_s": 0.3, "max_tokens": MAX_TOKENS, "concurrency": 16}
    return ExpertSpec.model_validate(base | fields)


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experts.backends.api_calls._FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("experts.backends.api_calls._LONGEST_WAIT_S", 0.05)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_and_nothing_is_paid_twice(questions_of, quick_backoff: None, seed: int) -> None:
    bank = Bank(seed, fault_rate=0.5)
    rows = [{"prompt": f"Capital number {i}?", "answer": "Paris"} for i in range(60)]
    cap = SpendCap(1000.0)
    with serve(bank) as url:
        spec = make_spec(url, max_retries=30)
        backend = build_backend(spec)
        table = answer_and_grade(backend, spec, questions_of(rows), round="r", run_id="i", purse=cap)
    assert set(bank.faults) == {"429", "500", "hang", "cut before", "cut after", "garbled"}
    assert table["error"].null_count == 60
    assert table["score"].to_pylist() == [1.0] * 60
    # Every attempt at a question carried the same key, so an API that knows such keys charged it once.
    assert len(bank.by_key) == 60
    assert any(times > 1 for times in bank.worked.values())
    assert sum(table["cost_usd"].to_pylist()) == pytest.approx(sum(bank.by_key.values()))
    # The cap's books assume the worst: the API knows no keys and charges what it never delivered.
    assert cap.spent_usd() >= bank.charged_each_time - 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_cap_is_never_passed(questions_of, quick_backoff: None, seed: int) -> None:
    bank = Bank(seed, fault_rate=0.3)
    rows = [{"prompt": f"Capital number {i}?" + " Please." * (i % 9), "answer": "Paris"} for i in range(60)]
    cap = SpendCap(4.0)
    with serve(bank) as url:
        spec = make_spec(url, max_retries=30)
        table = answer_and_grade(
            build_backend(spec), spec, questions_of(rows), round="r", run_id="i", purse=cap
        )
    assert bank.charged_each_time <= cap.spent_usd() <= 4.0
    errors = [error for error in table["error"].to_pylist() if error]
    assert errors
    assert all(error.startswith(f"{BUDGET_SPENT}: ") for error in errors)
    assert table["error"].null_count > 5
    # It stopped because the next question did not fit, not long before.
    worst = spec.price.cost_usd(600, MAX_TOKENS)
    assert cap.spent_usd() > 4.0 - worst


def test_a_cap_of_nothing_asks_nothing(questions_of) -> None:
    bank = Bank(0, fault_rate=0.0)
    rows = [{"prompt": "Capital?", "answer": "Paris"}]
    with serve(bank) as url:
        spec = make_spec(url)
        purse = SpendCap(0.0)
        table = answer_and_grade(
            build_backend(spec), spec, questions_of(rows), round="r", run_id="i", purse=purse
        )
    assert table["error"][0].as_py().startswith(f"{BUDGET_SPENT}: ")
    assert not bank.worked


def test_a_dead_address_costs_nothing(questions_of, quick_backoff: None) -> None:
    port = free_port()
    spec, cap = make_spec(f"http://127.0.0.1:{port}/v1", max_retries=1), SpendCap(1.0)
    rows = [{"prompt": "Capital?", "answer": "Paris"}]
    table = answer_and_grade(build_backend(spec), spec, questions_of(rows), round="r", run_id="i", purse=cap)
    assert table["error"][0].as_py().startswith("unreachable: ")
    assert cap.spent_usd() == 0.0
