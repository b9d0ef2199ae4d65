"""When an answer has gone past its tokens: whatever it is made of, and not for being one long word."""

import json

import pytest

from experts import ExpertSpec
from experts.upstream import Piece, TokenCounter, Usage, ask_of, read_reply
from experts.upstream.stream import StreamReader
from serve.request.charges import RequestBudget, charge_answer, has_overrun, is_beyond
from serve.request.streaming import written_in

SPEC = ExpertSpec(
    name="e", backend="openai", model="m", price={"usd_per_mtok_in": 3.0, "usd_per_mtok_out": 7.0}
)


def ask(**asked):
    return ask_of(SPEC, {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10} | asked)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "word "},
        {"content": [{"type": "text", "text": "word "}]},
        {"content": [{"type": "thinking", "thinking": "word "}]},
        {"reasoning_content": "word "},
        {"reasoning": "word "},
        {"thinking": "word "},
        {"reasoning_details": [{"type": "reasoning.text", "text": "word "}]},
        {"refusal": "word "},
        {"function_call": {"arguments": "word "}},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "word "}}]},
        {"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "w o "}}]},
    ],
    ids=lambda delta: json.dumps(delta)[:40],
)
def test_a_stream_without_an_end_goes_beyond_whatever_it_writes(delta):
    asked, written = ask(), 0
    reader = StreamReader(asked, TokenCounter(SPEC))
    event = json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()
    for _ in range(200):
        for item in reader.feed(b"data: " + event + b"\n\n"):
            assert isinstance(item, Piece)
            written += written_in(item.body, "delta")
        if is_beyond(asked, reader.usage, written):
            return
    pytest.fail(f"{written} characters were written for 10 tokens")


@pytest.mark.parametrize("text", ["representation", "-" * 128, " " * 80])
@pytest.mark.parametrize("told", [None, {"prompt_tokens": 9, "completion_tokens": 1}])
def test_one_long_token_is_no_overrun(text, told):
    asked = ask(max_tokens=1)
    message = {"content": text + "."}
    body = {"choices": [{"message": message, "finish_reason": "length"}], "usage": told}
    reply = read_reply(asked, 200, {}, json.dumps(body).encode(), TokenCounter(SPEC))
    assert not has_overrun(asked, reply.usage, written_in(reply.body, "message"))


def test_a_prompt_that_is_repeated_is_no_overrun():
    asked = ask_of(SPEC, {"prompt": "word " * 500, "echo": True, "max_tokens": 5})
    assert not is_beyond(asked, Usage(600, 5, is_estimated=True), 2_510)
    assert is_beyond(asked, Usage(600, 5, is_estimated=True), 5_000)
    told = {"prompt_tokens": 501, "completion_tokens": 5}
    body = {"choices": [{"text": "word " * 505, "finish_reason": "length"}], "usage": told}
    assert read_reply(asked, 200, {}, json.dumps(body).encode(), TokenCounter(SPEC)).usage == Usage(501, 5)


def test_who_tells_of_more_tokens_than_were_allowed_has_overrun():
    body = {"choices": [{"message": {"content": "word " * 20}, "finish_reason": "length"}]}
    told = {"usage": {"prompt_tokens": 9, "completion_tokens": 20}}
    reply = read_reply(ask(), 200, {}, json.dumps(body | told).encode(), TokenCounter(SPEC))
    assert has_overrun(ask(), reply.usage, written_in(reply.body, "message"))


def test_a_prompt_that_a_host_made_longer_is_charged_within_the_reservation():
    asked = ask()
    usage = Usage(int(asked.most_prompt_tokens) + 4_000, 10)
    purse = RequestBudget(asked.most_usd)
    purse.charge(charge_answer(asked, usage, 40, TokenCounter(SPEC)))
    assert purse.spent_usd == asked.most_usd
    assert purse.disputed_usd == pytest.approx(usage.cost_usd(SPEC.price) - asked.most_usd)
