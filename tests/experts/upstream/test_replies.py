"""Generated replies, whole ones: an answer that every client can read, or a failure; never an exception."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.upstream import Answer, Failure, FailureKind, TokenCounter, read_reply
from tests.experts.upstream.scripted_socket import completion, make_ask, make_spec

SPEC = make_spec()

texts = st.text(max_size=30) | st.sampled_from(["\ud83d", "\ude00", "\x00", "Fine.", ""])
numbers = st.integers(-5, 5) | st.floats() | st.sampled_from([10**400, -(10**30), 1e308, True, 2.0])
scalars = st.none() | st.booleans() | numbers | texts
odd = st.recursive(
    scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(texts, x, max_size=3), max_leaves=6
)
parts = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "thinking", "image_url", None])},
        optional={"text": odd, "thinking": odd},
    )
    | odd,
    max_size=3,
)
calls = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "index": odd,
            "id": odd,
            "type": st.sampled_from(["function", "custom"]) | odd,
            "function": st.fixed_dictionaries({}, optional={"name": odd, "arguments": odd}) | odd,
        },
    )
    | odd,
    max_size=3,
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "role": odd,
        "content": texts | parts | odd,
        "tool_calls": calls | odd,
        "refusal": odd,
        "reasoning_content": odd,
        "function_call": odd,
        "audio": odd,
    },
)
logprobs = st.fixed_dictionaries(
    {
        "content": st.lists(
            st.fixed_dictionaries({"token": texts, "logprob": odd, "top_logprobs": odd}), max_size=2
        )
    }
)
choices = st.fixed_dictionaries(
    {},
    optional={
        "index": odd,
        "message": messages | odd,
        "delta": messages | odd,
        "text": odd,
        "finish_reason": st.sampled_from(
            ["stop", "length", "error", "content_filter", "tool_calls", "end_turn"]
        )
        | odd,
        "logprobs": logprobs | odd,
        "error": odd,
    },
)
counts = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": odd,
        "completion_tokens": odd,
        "total_tokens": odd,
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": odd}) | odd,
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": odd}) | odd,
    },
)
replies = st.fixed_dictionaries(
    {},
    optional={
        "id": odd,
        "object": odd,
        "created": odd,
        "model": odd,
        "choices": st.lists(choices | odd, max_size=3) | odd,
        "usage": counts | odd,
        "error": odd,
        "base_resp": odd,
        "message": odd,
    },
)


def judge(body: Any, **asked: Any) -> Answer | Failure:
    ask = make_ask(SPEC, **asked)
    data = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
    reply = read_reply(ask, 200, {}, data, TokenCounter(SPEC))
    usage = reply.usage
    if usage is not None:
        assert 0 <= usage.prompt_tokens <= ask.most_prompt_tokens + 4096
        assert 0 <= usage.completion_tokens <= ask.most_completion_tokens
        assert 0 <= usage.cached_tokens <= usage.prompt_tokens
        assert 0 <= usage.claimed_usd <= 100_000
        assert 0 <= usage.cost_usd(SPEC.price) <= ask.most_usd + SPEC.price.cost_usd(4096.0, 0.0)
    return reply


def check_answer(answer: Answer) -> None:
    """Hold an answer against what OpenAI's clients rely on."""
    wire = json.dumps(answer.body, allow_nan=False, ensure_ascii=False).encode()  # no NaN, no half surrogates
    assert json.loads(wire) == answer.body
    body = answer.body
    assert body["object"] == "chat.completion"
    assert body["model"] == "alpha"
    assert isinstance(body["id"], str)
    assert type(body["created"]) is int
    assert body["usage"]["total_tokens"] == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert body["choices"]
    assert "error" not in body
    for at, choice in enumerate(body["choices"]):
        assert choice["index"] == at
        assert choice["finish_reason"] in {"stop", "length", "tool_calls", "content_filter", "function_call"}
        message = choice["message"]
        assert message["role"] == "assistant"
        assert message["content"] is None or isinstance(message["content"], str)
        for call in message.get("tool_calls", ()):
            inner = call[call["type"]]
            assert isinstance(call["id"], str)
            assert inner["name"]
            assert isinstance(inner.get("arguments", inner.get("input")), str)
    assert isinstance(answer.text, str)
    assert answer.is_unfinished in {True, False}


@settings(max_examples=700, deadline=None)
@given(body=replies)
def test_any_reply_is_an_answer_or_a_failure(body: Any) -> None:
    reply = judge(body)
    if isinstance(reply, Answer):
        check_answer(reply)


@settings(max_examples=300, deadline=None)
@given(body=replies, at=st.integers(0, 400))
def test_any_reply_cut_off_is_a_failure(body: Any, at: int) -> None:
    data = json.dumps(body).encode()
    reply = judge(data[: min(at, len(data) - 1)])
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.MALFORMED


@settings(max_examples=200, deadline=None)
@given(text=st.text(min_size=1, max_size=80), usage=counts | odd)
def test_a_good_answer_stays_one_whatever_its_usage(text: str, usage: Any) -> None:
    reply = judge(completion(text, usage=usage))
    assert isinstance(reply, Answer)
    assert reply.text == text.encode("utf-8", "replace").decode() or max(text) >= "\ud800"
    assert reply.usage.completion_tokens >= 1
    check_answer(reply)


FAULTS: dict[str, tuple[Any, FailureKind]] = {
    "empty": (b"", FailureKind.MALFORMED),
    "blanks": (b" \n", FailureKind.MALFORMED),
    "empty object": ({}, FailureKind.MALFORMED),
    "null": (b"null", FailureKind.MALFORMED),
    "list": (b"[]", FailureKind.MALFORMED),
    "text": (b'"Fine."', FailureKind.MALFORMED),
    "page": (b"<html>Just a moment</html>", FailureKind.MALFORMED),
    "stream": (b'data: {"choices": []}\n\n', FailureKind.MALFORMED),
    "nested": (b'{"a":' * 5000 + b"1" + b"}" * 5000, FailureKind.MALFORMED),
    "nested beside an answer": (completion(x=json.loads("[" * 200 + "]" * 200)), FailureKind.MALFORMED),
    "no choices": (completion(choices=[]), FailureKind.MALFORMED),
    "null choices": (completion(choices=None), FailureKind.MALFORMED),
    "text as choices": (completion(choices="Fine."), FailureKind.MALFORMED),
    "nothing": (completion(None, usage=None), FailureKind.EMPTY),
    "nothing, none counted": (
        completion("", usage={"prompt_tokens": 5, "completion_tokens": 0}),
        FailureKind.EMPTY,
    ),
    "error beside choices": (completion("", error={"message": "x", "code": 503}), FailureKind.SERVER_ERROR),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_is_no_answer_is_a_failure_of_its_kind(what: str) -> None:
    body, kind = FAULTS[what]
    reply = judge(body)
    assert isinstance(reply, Failure), reply
    assert reply.kind is kind


def choice(finish: str, text: str | None = "", **more: Any) -> dict[str, Any]:
    return completion(choices=[{"index": 0, "finish_reason": finish, "message": {"content": text}} | more])


@pytest.mark.parametrize(
    "finish", ["error", "abort", "network_error", "insufficient_system_resource", "ERROR"]
)
def test_an_end_by_error_is_a_failure_whatever_came_before(finish: str) -> None:
    for text in ("", "Six times se"):
        reply = judge(choice(finish, text))
        assert isinstance(reply, Failure)
        assert reply.kind is FailureKind.SERVER_ERROR
        assert reply.usage is not None


@pytest.mark.parametrize(
    "finish", ["content_filter", "SAFETY", "sensitive", "refusal", "guardrail_intervened"]
)
def test_a_withheld_answer_is_no_answer_and_a_cut_one_says_so(finish: str) -> None:
    withheld = judge(choice(finish))
    assert isinstance(withheld, Failure)
    assert withheld.kind is FailureKind.CONTENT_FILTER
    cut = judge(choice(finish, "Six times"))
    assert isinstance(cut, Answer)
    assert cut.is_withheld


def test_a_models_own_refusal_is_its_answer() -> None:
    reply = judge(
        completion(
            choices=[{"message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"}]
        )
    )
    assert isinstance(reply, Answer)
    assert reply.text == "I will not."


@pytest.mark.parametrize(
    ("message", "is_unfinished"),
    [
        ({"content": "", "reasoning_content": "Six sevens are"}, True),
        ({"content": "<think>Six sevens are"}, True),
        ({"content": "<think>Six sevens.</think>\n"}, True),
        ({"content": None, "reasoning": "Six"}, True),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Six"}]}]}, True),
        ({"content": "<think>Six.</think>42 is the"}, False),
        ({"content": "42 is the"}, False),
        ({"content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}, False),
    ],
)
def test_a_limit_spent_on_thoughts_is_an_unfinished_answer(message: Any, is_unfinished: bool) -> None:
    reply = judge(completion(choices=[{"message": message, "finish_reason": "length"}]))
    assert isinstance(reply, Answer)
    assert reply.is_unfinished is is_unfinished
    finished = judge(completion(choices=[{"message": message, "finish_reason": "stop"}]))
    assert isinstance(finished, Answer)
    assert not finished.is_unfinished


def test_choices_come_in_the_order_of_their_indices_and_calls_too() -> None:
    told = [{"index": i, "finish_reason": "stop", "message": {"content": str(i)}} for i in (2, 0, 1)]
    reply = judge(completion(choices=told), n=3)
    assert isinstance(reply, Answer)
    assert [c["message"]["content"] for c in reply.body["choices"]] == ["0", "1", "2"]
    calls = [
        {"index": i, "id": f"c{i}", "function": {"name": f"f{i}", "arguments": {"x": i}}} for i in (1, 0)
    ]
    reply = judge(completion(choices=[{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]))
    assert isinstance(reply, Answer)
    got = reply.body["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["arguments"]) for c in got] == [("c0", '{"x": 0}'), ("c1", '{"x": 1}')]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "Infinity", "1e999", "null", '"x"'])
def test_log_probabilities_are_numbers(number: str) -> None:
    entry = f'{{"token": "A", "logprob": {number}, "top_logprobs": [{{"token": "B", "logprob": {number}}}]}}'
    body = json.dumps(completion("A")).replace(
        '"index": 0', f'"index": 0, "logprobs": {{"content": [{entry}]}}'
    )
    reply = judge(body.encode())
    assert isinstance(reply, Answer)
    first = reply.body["choices"][0]["logprobs"]["content"][0]
    assert first["logprob"] == first["top_logprobs"][0]["logprob"] == -9999.0
    assert not math.isnan(first["logprob"])


def test_a_byte_order_mark_doubled_keys_and_broken_bytes_are_read() -> None:
    data = b"\xef\xbb\xbf" + json.dumps(completion()).replace(
        '"Fine."', '"x", "content": "Fi\xffne."'
    ).encode("latin-1")
    reply = judge(data)
    assert isinstance(reply, Answer)
    assert reply.text == "Fi\ufffdne."
