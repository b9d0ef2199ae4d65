"""Whatever one reply holds: it costs its own cell, the others are kept, a cost is known, the cap holds."""

from __future__ import annotations

import copy
import functools
import json
import math
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experts import ExpertSpec, SpendCap, answer_and_grade, build_backend
from experts.backends.base import RawAnswer
from experts.backends.openai_backend import OpenAIBackend
from tests.experts.conftest import make_questions
from tests.scripted_api import ChatHandler, completion, serve_chat

Reply = tuple[int, dict[str, str], bytes]


class Script:
    """What the server says next, by a word of the prompt; everything else is answered well."""

    def __init__(self) -> None:
        self.odd: Reply = (200, {}, b"{}")
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()


SCRIPT = Script()


class Handler(ChatHandler):
    def act(self, body: dict[str, Any]) -> None:
        with SCRIPT.lock:
            SCRIPT.requests.append(body)
        if "odd" not in body["messages"][0]["content"]:
            return self.reply(completion("Paris", tokens=(11, 3)))
        status, headers, data = SCRIPT.odd
        if status == 0:
            return self.cut()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(data)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_chat(Handler) as url:
        yield url


def make_spec(url: str, **fields: Any) -> ExpertSpec:
    base: dict[str, Any] = {"name": "api", "backend": "openai", "model": "m", "base_url": url}
    base |= {"scoring": "generate", "max_retries": 0, "max_tokens": 64, "timeout_s": 5.0}
    base["price"] = {"usd_per_mtok_in": 1000.0, "usd_per_mtok_out": 2000.0}
    return ExpertSpec.model_validate(base | fields)


@functools.cache
def backend_of(url: str) -> OpenAIBackend:
    return OpenAIBackend(make_spec(url))


def ask(url: str, reply: Reply, cap_usd: float = 100.0) -> tuple[list[dict[str, Any]], SpendCap]:
    SCRIPT.odd = reply
    SCRIPT.requests.clear()
    spec, cap = make_spec(url), SpendCap(cap_usd)
    backend = backend_of(url)
    backend._ended, backend._gone = None, 0  # a new one takes a while
    prompts = ["Capital of France?", "An odd one?", "Capital of France, again?"]
    table = answer_and_grade(
        backend, spec, make_questions([{"prompt": p, "answer": "Paris"} for p in prompts]),
        round="r", run_id="i", purse=cap,
    )  # fmt: skip
    return table.to_pylist(), cap


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status, headers, data


def altered(**fields: Any) -> dict[str, Any]:
    """A completion with its choice, message or usage changed; None takes a field away."""
    body = completion("Paris", tokens=(11, 3))
    for place, changes in fields.items():
        part = {
            "choice": body["choices"][0],
            "message": body["choices"][0]["message"],
            "usage": body["usage"],
        }[place]
        part.update(changes)
    return body


UNSCORED = {
    "an error beside the choice": altered(
        message={"content": ""}, choice={"finish_reason": "error", "error": {"code": 502, "message": "gone"}}
    ),
    "withheld whole": altered(message={"content": ""}, choice={"finish_reason": "content_filter"}),
    "withheld in the middle": altered(message={"content": "Par"}, choice={"finish_reason": "content_filter"}),
    "nothing at all": altered(message={"content": None}) | {"usage": None},
    "nothing but blanks": altered(message={"content": " \n"}),
    "nothing but thoughts": altered(message={"content": None, "reasoning_content": "Let me see"}),
    "thoughts up to the limit": altered(
        message={"content": "", "reasoning_content": "Hm"},
        choice={"finish_reason": "length"},
        usage={"completion_tokens": 64, "completion_tokens_details": {"reasoning_tokens": 64}},
    ),
    "a thought that is cut off": altered(
        message={"content": "<think>Hm"}, choice={"finish_reason": "length"}
    ),
}


@pytest.mark.parametrize("what", UNSCORED)
def test_what_is_no_answer_is_unscored_and_says_why(url: str, what: str) -> None:
    rows, _ = ask(url, reply(UNSCORED[what]))
    assert [row["score"] for row in rows] == [1.0, None, 1.0]
    assert ": " in rows[1]["error"]


def test_a_withheld_answer_is_kept_and_an_outage_is_not(url: str) -> None:
    from experts import QUESTION_ERRORS

    for what, is_kept in (("withheld whole", True), ("an error beside the choice", False)):
        rows, _ = ask(url, reply(UNSCORED[what]))
        assert (rows[1]["error"].split(":")[0] in QUESTION_ERRORS) is is_kept


NONE_THAT_CAN_BE = [
    (-1, 3),
    ("x", 3),
    (10**9, 10**9),
    (11, 65),
    (math.inf, math.nan),
    (None, None),
    (0, 0),
    (True, [1]),
]
USAGES = [None, {}, [], "many", 3, {"prompt_tokens": 11}] + [
    {"prompt_tokens": prompt, "completion_tokens": completion} for prompt, completion in NONE_THAT_CAN_BE
]


@pytest.mark.parametrize("usage", USAGES, ids=str)
def test_an_answer_always_has_a_cost_and_none_beyond_its_worst_case(url: str, usage: Any) -> None:
    rows, cap = ask(url, reply(altered() | {"usage": usage}))
    assert [row["score"] for row in rows] == [1.0, 1.0, 1.0]
    spec = make_spec(url)
    worst_usd = spec.price.cost_usd(700.0, 64.0)
    assert 0 < rows[1]["cost_usd"] <= worst_usd
    assert cap.spent_usd() == pytest.approx(sum(row["cost_usd"] for row in rows))


def test_cached_tokens_cost_what_the_price_list_says(url: str) -> None:
    SCRIPT.odd = reply(altered(usage={"prompt_tokens_details": {"cached_tokens": 10}}))
    price = {"usd_per_mtok_in": 1000.0, "usd_per_mtok_out": 2000.0, "usd_per_mtok_cached_in": 100.0}
    spec, cap = make_spec(url, price=price), SpendCap(1.0)
    questions = make_questions([{"prompt": "An odd one?", "answer": "Paris"}])
    table = answer_and_grade(build_backend(spec), spec, questions, round="r", run_id="i", purse=cap)
    (row,) = table.to_pylist()
    assert row["cost_usd"] == pytest.approx((1 * 1000 + 10 * 100 + 3 * 2000) / 1e6)
    assert cap.spent_usd() == pytest.approx(row["cost_usd"])


REFUSALS = [
    (
        400,
        {
            "error": {
                "message": "'logprobs' is not supported with this model",
                "code": "unsupported_parameter",
            }
        },
    ),
    (400, {"error": {"message": "Logprobs is not enabled for this model", "status": "INVALID_ARGUMENT"}}),
    (400, {"error": {"message": "Unsupported parameter", "param": "top_logprobs"}}),
    (400, {"error": {"message": "LOG_PROBS disabled"}}),
    (400, {"error": "bad request"}),
    (403, {"error": {"message": "You may not ask this model for logprobs"}}),
    (404, {"error": {"message": "No endpoint supports the parameters asked for: logprobs"}}),
    (405, {"detail": "log probabilities: not allowed"}),
    (422, {"detail": [{"loc": ["body", "top_logprobs"], "msg": "Extra inputs are not permitted"}]}),
    (501, {"error": {"message": "logprobs: not implemented"}}),
    (500, {"error": {"message": "logprobs are not implemented"}}),
    (200, {"error": {"message": "This model does not support logprobs", "code": 400}}),
]


@pytest.mark.parametrize(("status", "body"), REFUSALS, ids=str)
def test_refused_log_probabilities_are_done_without(url: str, status: int, body: dict[str, Any]) -> None:
    class Refusing(ChatHandler):
        asked: ClassVar[list[bool]] = []

        def act(self, request: dict[str, Any]) -> None:
            self.asked.append("logprobs" in request)
            if "logprobs" in request:
                return self.send(status, json.dumps(body))
            return self.reply(completion("The answer is B."))

    with serve_chat(Refusing) as address:
        spec = make_spec(address, scoring="letter", concurrency=1, max_retries=1)
        rows = [{"prompt": f"2 + {i}?", "choices": ["x", "y"], "answer": "1"} for i in range(3)]
        table = answer_and_grade(build_backend(spec), spec, make_questions(rows), round="r", run_id="i")
    assert table["score"].to_pylist() == [1.0] * 3, table["error"].to_pylist()
    assert Refusing.asked[-3:] == [False] * 3  # it is remembered
    assert Refusing.asked.count(True) <= 2


def test_a_letter_that_is_not_among_the_likeliest_is_asked_for_in_words(url: str) -> None:
    class Talking(ChatHandler):
        def act(self, request: dict[str, Any]) -> None:
            body = completion("The" if "logprobs" in request else "The answer is B.")
            if "logprobs" in request:
                top = [{"token": "The", "logprob": -0.01}, {"token": "Well", "logprob": -5.0}]
                body["choices"][0]["logprobs"] = {
                    "content": [{"token": "The", "logprob": -0.01, "top_logprobs": top}]
                }
            self.reply(body)

    with serve_chat(Talking) as address:
        spec = make_spec(address, scoring="letter")
        row = {"prompt": "2 + 2?", "choices": ["3", "4"], "answer": "1"}
        table = answer_and_grade(build_backend(spec), spec, make_questions([row]), round="r", run_id="i")
    (answer,) = table.to_pylist()
    assert (answer["choice"], answer["score"]) == (1, 1.0)
    assert answer["completion_tokens"] == 1 + 3  # both replies are paid for


def test_every_answer_is_kept_before_another_question_takes_its_place(url: str) -> None:
    spec = make_spec(url, concurrency=2)
    open_now, most, kept = set[str](), 0, dict[str, RawAnswer]()
    lock = threading.Lock()

    class Purse:
        def reserve(self, usd: float) -> Any:
            from experts.backends.spend_cap import ReserveOutcome

            nonlocal most
            with lock:
                waiting.append(usd)
                most = max(most, len(waiting))
            return ReserveOutcome.GRANTED

        def settle(self, reserved_usd: float, spent_usd: float) -> None:
            pass

    waiting: list[float] = []

    def keep(question_id: str, answer: RawAnswer) -> None:
        threading.Event().wait(0.02)
        with lock:
            kept[question_id] = answer
            waiting.pop()

    questions = make_questions([{"prompt": f"Capital {i}?", "answer": "Paris"} for i in range(12)])
    build_backend(spec).answer(questions, purse=Purse(), keep=keep)
    assert set(kept) == set(questions["question_id"].to_pylist())
    assert all(answer.text == "Paris" and answer.prompt_tokens == 11 for answer in kept.values())
    assert most <= 2
    assert not open_now


def test_what_cannot_be_kept_is_not_bought(url: str) -> None:
    def keep(question_id: str, answer: RawAnswer) -> None:
        raise OSError(28, "No space left on device")

    SCRIPT.requests.clear()
    questions = make_questions([{"prompt": f"Capital {i}?", "answer": "Paris"} for i in range(30)])
    with pytest.raises(OSError, match="space"):
        build_backend(make_spec(url, concurrency=2)).answer(questions, keep=keep)
    assert len(SCRIPT.requests) <= 4


ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.none(), max_size=2)
)
PLACES = [
    ("usage",), ("usage", "prompt_tokens"), ("usage", "completion_tokens"), ("choices",), ("choices", 0),
    ("choices", 0, "message"), ("choices", 0, "message", "content"), ("choices", 0, "finish_reason"),
    ("choices", 0, "index"), ("choices", 0, "logprobs"), ("choices", 0, "message", "tool_calls"), ("error",),
    ("model",), ("id",), ("created",), ("choices", 0, "message", "reasoning_content"),
]  # fmt: skip


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    body: Any = copy.deepcopy(completion("Paris", tokens=(11, 3)))
    for place in draw(st.lists(st.sampled_from(PLACES), max_size=3)):
        part = body
        for step in place[:-1]:
            is_there = (
                step in part if isinstance(part, dict) else isinstance(part, list) and part and step == 0
            )
            part = part[step] if is_there else None
        if isinstance(part, dict) or (isinstance(part, list) and part and place[-1] == 0):
            part[place[-1]] = draw(ODD)
    data = json.dumps(body).encode()
    if draw(st.booleans()):
        data = data[: draw(st.integers(0, len(data)))]
    if draw(st.integers(0, 9)) == 0:
        data = draw(st.binary(max_size=40))
    status = draw(
        st.sampled_from([200, 200, 200, 200, 0, 400, 403, 404, 408, 409, 413, 422, 429, 451, 500, 503, 529])
    )
    return status, {}, data


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(odd=replies(), cap_usd=st.sampled_from([0.6, 1.5, 100.0]))
def test_one_odd_reply_costs_one_cell(url: str, odd: Reply, cap_usd: float) -> None:
    rows, cap = ask(url, odd, cap_usd)
    spec = make_spec(url)
    worst_usd = spec.price.cost_usd(700.0, 64.0)
    assert cap.spent_usd() <= cap_usd
    for row in rows:
        assert (row["text"] is None) == (row["error"] is not None)
        if row["error"] is None:
            assert 0 <= row["cost_usd"] <= worst_usd
            assert row["score"] in (0.0, 1.0)
        else:
            assert row["score"] is None
            assert not row["error"].startswith(("TypeError", "KeyError", "AttributeError", "IndexError")), (
                row["error"]
            )
    if cap_usd == 100.0:
        assert [rows[0]["score"], rows[2]["score"]] == [1.0, 1.0], rows
    known_usd = sum(row["cost_usd"] or 0.0 for row in rows)
    assert cap.spent_usd() >= known_usd - 1e-9
