"""Streams that are held back until their answer is whole, over HTTP, and those that are not."""

import asyncio
import json
import logging
import time

import httpx
import openai
import pytest
from fake_experts import FixedRouter, LocalLedger
from hostile_upstream import Plan
from test_falling_through import SCHEMA, SOUND, under
from test_money import spec_of
from unusable_answers import text

from serve.config import ServeConfig
from serve.experts.direct import DirectClient
from serve.http.api import create_api
from serve.ledger.messages import Caller
from serve.request.gateway import Gateway
from serve.wire.protocol import ChatRequest
from tests.web_server import serve_app

HELD = "serve.request.usable.held_stream"


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(f"{HELD}.PATIENCE_S", 0.1)
    monkeypatch.setattr(f"{HELD}.KEEP_ALIVE_S", 0.1)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def url(upstream, tmp_path):
    """The web application over two experts behind the hostile upstream, and no Ray."""
    upstream.plans.clear()
    upstream.requests.clear()
    upstream.bills.clear()

    config = ServeConfig(home=tmp_path, access="open", deadline_s=3.0)
    specs = [spec_of(name, upstream, timeout_s=2) for name in ("alpha", "beta")]
    experts = {spec.name: DirectClient(spec) for spec in specs}
    gateway = Gateway(config, FixedRouter("alpha", "beta"), LocalLedger(config), experts)

    async def close():
        for expert in experts.values():
            await expert.aclose()

    with serve_app(create_api(gateway), on_end=close) as url:
        yield url


def body_of(name, **fields):
    messages = [{"role": "user", "content": f"Say it. #{name}#"}]
    return {"model": "leeroo", "messages": messages, "stream": True, "max_tokens": 40} | fields


def lines_of(url, **fields):
    """Return the status, the headers, and the lines of a stream, each with the second in which it came."""
    began = time.monotonic()
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body_of("it", **fields), timeout=20) as got:
        lines = [(time.monotonic() - began, line) for line in got.iter_lines() if line]
        return got.status_code, got.headers, lines


def events_of(lines):
    data = [line.removeprefix("data: ") for _, line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(event) for event in data[:-1]]


def test_comments_keep_the_connection_until_the_answer_is_whole(url, upstream):
    upstream.plans |= {
        "it@alpha": Plan(says=text("no"), words=10, pace_s=0.03),
        "it@beta": Plan(says=text(SOUND), words=10, pace_s=0.03),
    }
    status, headers, lines = lines_of(url, stream_options={"include_usage": True}, **under(SCHEMA))
    assert status == 200
    is_comment = [line.startswith(":") for _, line in lines]
    assert sum(is_comment) >= 2
    assert is_comment == sorted(is_comment, reverse=True), "they come before the answer"
    first, last, counts = events_of(lines)
    assert json.loads(first["choices"][0]["delta"]["content"]) == json.loads(SOUND)
    assert first["leeroo"]["expert"] == "beta"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["leeroo"]["cost_usd"] == pytest.approx(upstream.billed_usd)
    assert counts["usage"]["completion_tokens"] == 10
    assert "x-leeroo-expert" not in headers  # nobody knew it yet
    assert headers["x-leeroo-request-id"] == last["leeroo"]["request_id"]


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(f"{HELD}.PATIENCE_S", 30.0)


def test_an_answer_that_is_there_in_time_has_its_headers_and_no_comments(url, upstream, patient):
    upstream.plans |= {"it": Plan(says=text(SOUND))}
    _, headers, lines = lines_of(url, **under(SCHEMA))
    assert headers["x-leeroo-expert"] == "alpha"
    assert not [line for _, line in lines if line.startswith(":")]


def test_openais_client_reads_a_stream_with_comments(url, upstream):
    upstream.plans |= {
        "it@alpha": Plan(says=text("no"), words=10, pace_s=0.03),
        "it@beta": Plan(says=text(SOUND)),
    }
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    pieces = list(client.chat.completions.create(**body_of("it", **under(SCHEMA))))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == SOUND
    assert pieces[-1].choices[0].finish_reason == "stop"


def test_where_nobody_answers_in_time_the_refusal_has_its_status(url, upstream, patient):
    upstream.plans |= {"it": Plan(status=503)}
    got = httpx.post(f"{url}/v1/chat/completions", json=body_of("it", **under(SCHEMA)))
    assert got.status_code == 502
    assert got.json()["error"]["code"] == "no_expert_answered"


def test_where_nobody_answers_later_the_refusal_is_the_last_event(url, upstream):
    upstream.plans |= {"it": Plan(status=503, begin_s=0.3)}
    status, _, lines = lines_of(url, **under(SCHEMA))
    assert status == 200
    (event,) = events_of(lines)
    assert event["error"]["code"] == "no_expert_answered"


def test_a_client_that_leaves_a_held_stream_ends_the_work_on_it(url, upstream):
    upstream.plans |= {"it": Plan(says=text("no"), words=40, pace_s=0.03)}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body_of("it", **under(SCHEMA))) as got:
        next(got.iter_lines())  # a comment
    time.sleep(1.6)  # the first would have ended, and the second be asked
    assert [request["model"] for request in upstream.requests] == ["alpha"]


@pytest.mark.parametrize(
    "fields", [{}, under(SCHEMA) | {"max_experts_asked": 1}, under(SCHEMA) | {"model": "alpha"}]
)
def test_a_text_and_what_can_come_from_one_expert_only_go_out_as_they_come(url, upstream, fields):
    upstream.plans |= {"it": Plan(words=12, pace_s=0.05)}
    _, _, lines = lines_of(url, **fields)
    times = [at for at, line in lines if '"content"' in line and "word" in line]
    assert len(times) == 12
    assert times[-1] - times[0] > 0.3
    assert [request["stream"] for request in upstream.requests] == [True]


def test_a_tool_call_is_one_piece_with_its_place(url, upstream):
    function = {"name": "look_up", "arguments": SOUND}
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }
    upstream.plans |= {"it@alpha": Plan(words=2), "it@beta": Plan(says=call, finish="tool_calls")}
    tool = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
    _, _, lines = lines_of(url, tools=[tool], tool_choice="required")
    first, last = events_of(lines)
    assert first["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **call["tool_calls"][0]}]
    assert last["choices"][0]["finish_reason"] == "tool_calls"


def test_a_stop_ends_held_streams_in_good_order(upstream, tmp_path):
    upstream.plans.clear()
    upstream.plans["it"] = Plan(says=text("no"), words=40, pace_s=0.05)

    async def go():
        config = ServeConfig(home=tmp_path, access="open", deadline_s=10.0)
        experts = {name: DirectClient(spec_of(name, upstream, timeout_s=9)) for name in ("alpha", "beta")}
        gateway = Gateway(config, FixedRouter("alpha", "beta"), LocalLedger(config), experts)
        _, pieces = await gateway.stream(ChatRequest(**body_of("it", **under(SCHEMA))), Caller())
        await gateway.drain(0.1)
        events = [piece async for piece in pieces if piece]
        for expert in experts.values():
            await expert.aclose()
        return events

    (event,) = asyncio.run(go())
    assert event["error"]["code"] == "shutting_down"
