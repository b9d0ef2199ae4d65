from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import Any

import pytest

from experts import ExpertSpec, answer_and_grade, build_backend
from tests.scripted_api import ChatHandler, completion, serve_chat
from warehouse import CannotRunError

CHOICE = {"prompt": "2 + 2?", "choices": ["3", "4", "5"], "answer": "1"}
FREE = {"prompt": "Capital of France?", "answer": "Paris"}


class Api:
    """A server that misbehaves as its script says: one step per request, the last for ever."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.busy = self.busiest = 0
        self.lock = threading.Lock()

    def step(self) -> Any:
        with self.lock:
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


def reply(text: str, letters: dict[str, float] | None = None, **extra: Any) -> dict[str, Any]:
    body = completion(text) | extra
    if letters:
        top = [{"token": t, "logprob": v, "bytes": None} for t, v in letters.items()]
        token = {"token": "B", "logprob": -0.1, "bytes": None, "top_logprobs": top}
        body["choices"][0]["logprobs"] = {"content": [token]}
    return body


def serve(api: Api) -> AbstractContextManager[str]:
    class Handler(ChatHandler):
        def act(self, body: dict[str, Any]) -> None:
            with api.lock:
                api.requests.append(body | {"_authorization": self.headers["authorization"]})
                api.times.append(time.monotonic())
                api.busy += 1
                api.busiest = max(api.busiest, api.busy)
            try:
                self.follow(api.step())
            finally:
                with api.lock:
                    api.busy -= 1

        def follow(self, step: Any) -> None:
            if step == "hang":
                time.sleep(3)
            elif step == "cut":
                self.cut()
            elif isinstance(step, tuple):
                status, headers, text = step
                self.send(status, text, headers)
            else:
                self.reply(step() if callable(step) else step)

    return serve_chat(Handler)


def make_spec(url: str, **fields: Any) -> ExpertSpec:
    defaults: dict[str, Any] = {
        "name": "api",
        "backend": "openai",
        "model": "m",
        "base_url": url,
        "scoring": "generate",
        "timeout_s": 1.0,
        "price": {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 2.0},
    }
    return ExpertSpec.model_validate(defaults | fields)


def ask(questions_of, api: Api, *rows: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    with serve(api) as url:
        spec = make_spec(url, **fields)
        table = answer_and_grade(build_backend(spec), spec, questions_of(list(rows)), round="r", run_id="i")
    return table.to_pylist()


def test_free_form_answer_tokens_and_cost(questions_of) -> None:
    api = Api(reply("Paris"))
    (row,) = ask(questions_of, api, FREE, max_tokens=9, stop=["\n"])
    assert (row["text"], row["score"], row["error"]) == ("Paris", 1.0, None)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (11, 3)
    assert row["cost_usd"] == pytest.approx((11 + 2 * 3) / 1e6)
    assert row["latency_s"] > 0
    assert (api.requests[0]["max_tokens"], api.requests[0]["stop"]) == (9, ["\n"])
    assert "Capital of France?" in api.requests[0]["messages"][0]["content"]


def test_letters_by_likelihood(questions_of) -> None:
    api = Api(reply("A", {"A": -2.0, "B": -1.5, " B": -1.6, "C": -9.0, "Z": -0.1}))
    (row,) = ask(questions_of, api, CHOICE, scoring="letter")
    assert (row["choice"], row["score"]) == (1, 1.0)
    assert row["choice_logprobs"][1] == pytest.approx(-0.856, abs=1e-3)  # both spellings of B together
    assert (api.requests[0]["logprobs"], api.requests[0]["max_tokens"]) == (True, 1)


@pytest.mark.parametrize(
    "refusal", [reply("B"), (400, {}, '{"error": {"message": "logprobs is not supported"}}')]
)
def test_without_logprobs_it_generates_and_remembers(questions_of, refusal: Any) -> None:
    api = Api(refusal, reply("The answer is B."))
    rows = ask(questions_of, api, CHOICE, {**CHOICE, "prompt": "1 + 3?"}, scoring="letter", concurrency=1)
    assert [row["choice"] for row in rows] == [1, 1]
    assert [bool(request.get("logprobs")) for request in api.requests] == [True, False, False]


def test_retry_after_is_honoured(questions_of) -> None:
    api = Api((429, {"retry-after": "1"}, "{}"), reply("Paris"))
    (row,) = ask(questions_of, api, FREE)
    assert row["score"] == 1.0
    assert 0.9 < api.times[1] - api.times[0] < 3
    assert row["latency_s"] > 0.9


def test_a_wait_of_an_hour_is_not_waited_for(questions_of) -> None:
    start = time.monotonic()
    (row,) = ask(questions_of, Api((429, {"retry-after": "3600"}, "{}")), FREE)
    assert row["error"].startswith("overloaded: ")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("fault", [(500, {}, "{}"), (503, {}, "busy"), "cut", "hang"])
def test_passing_faults_are_retried(questions_of, fault: Any) -> None:
    api = Api(fault, reply("Paris"))
    (row,) = ask(questions_of, api, FREE)
    assert (row["score"], row["error"]) == (1.0, None)
    assert len(api.requests) == 2


@pytest.mark.parametrize(
    ("fault", "error", "attempts"),
    [
        ((500, {}, "{}"), "server_error", 2),
        ((401, {}, '{"error": "bad key secret-key"}'), "credentials", 1),
        ((402, {}, '{"error": "top up, secret-key"}'), "account_empty", 1),
        ((429, {}, '{"error": {"code": "insufficient_quota"}}'), "account_empty", 1),
        ((404, {}, "{}"), "model_gone", 1),
        ((400, {}, '{"error": {"message": "blocked by our content policy"}}'), "content_filter", 1),
        ((400, {}, '{"error": {"code": "context_length_exceeded"}}'), "context_length_exceeded", 1),
        ("hang", "timeout", 2),
        ("cut", "broken_connection", 2),
        ((200, {"content-type": "application/json"}, '{"choices": [{'), "malformed", 2),
        ((200, {"content-type": "text/html"}, "<html>login</html>"), "malformed", 2),
        ((200, {"content-type": "application/json"}, "[]"), "malformed", 2),
        ((200, {}, '{"error": {"message": "overloaded", "code": 503}}'), "server_error", 2),
        (reply("x", choices=[], usage=None), "malformed", 2),
    ],
)
def test_lasting_faults_are_rows_with_error(
    questions_of, monkeypatch, fault: Any, error: str, attempts: int
) -> None:
    monkeypatch.setenv("TEST_KEY", "secret-key")
    api = Api(fault)
    (row,) = ask(questions_of, api, FREE, max_retries=1, api_key_env="TEST_KEY")
    assert row["error"].startswith(error)
    assert ": " in row["error"]
    assert "secret-key" not in row["error"]
    assert (row["score"], row["cost_usd"], row["text"]) == (None, None, None)
    assert len(api.requests) == attempts
    assert api.requests[0]["_authorization"] == "Bearer secret-key"


def test_one_failure_leaves_the_others_alone(questions_of) -> None:
    for fault in ((404, {}, "{}"), (400, {}, "{}")):
        api = Api(fault, reply("Paris"))
        rows = ask(questions_of, api, *({**FREE, "prompt": f"Capital {i}?"} for i in range(4)), concurrency=1)
        assert [row["error"] is None for row in rows] == [False, True, True, True]


@pytest.mark.parametrize(
    ("fault", "calls"),
    [((401, {}, "{}"), 1), ((402, {}, "{}"), 1), ((403, {}, "{}"), 1), ((404, {}, "{}"), 3)],
)
def test_what_ails_the_account_ends_the_expert_for_this_run(questions_of, fault: Any, calls: int) -> None:
    api = Api(fault)
    rows = ask(questions_of, api, *({**FREE, "prompt": f"Capital {i}?"} for i in range(20)), concurrency=1)
    assert len(api.requests) == calls
    assert len({row["error"] for row in rows}) == 1  # all say why


def test_poison_questions_do_not_reach_the_api(questions_of) -> None:
    api = Api(reply("B"))
    rows = ask(questions_of, api, {**FREE, "prompt": " \n"}, {**CHOICE, "choices": ["x"] * 30})
    assert all(row["error"].startswith("ValueError: ") for row in rows)
    assert api.requests == []


def test_requests_in_flight_are_bounded(questions_of) -> None:
    def slow() -> dict[str, Any]:
        time.sleep(0.1)
        return reply("Paris")

    api = Api(slow)
    start = time.monotonic()
    ask(questions_of, api, *({**FREE, "prompt": f"Capital {i}?"} for i in range(12)), concurrency=4)
    assert api.busiest == 4
    assert time.monotonic() - start < 0.1 * 12


def test_missing_key_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    with pytest.raises(CannotRunError, match="TEST_KEY"):
        build_backend(make_spec("http://127.0.0.1:1/v1", api_key_env="TEST_KEY"))


def test_inside_a_running_event_loop(questions_of) -> None:
    import asyncio

    async def caller() -> list[dict[str, Any]]:
        return ask(questions_of, Api(reply("Paris")), FREE)

    assert asyncio.run(caller())[0]["score"] == 1.0
