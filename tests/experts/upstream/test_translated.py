"""APIs in other dialects, through litellm: read, billed and refused as every other, and asked once."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from experts import ExpertSpec, check_runnable, probe_hardware
from experts.backends.registry import connect
from experts.upstream import Answer, Failure, FailureKind, Piece, ask_of
from experts.upstream.translated.library import load_litellm
from serve.experts.direct import DirectClient
from tests.experts.upstream.asking import ANTHROPIC, ask, client_of, said, stream
from tests.experts.upstream.scripted_socket import Call, make_ask, make_spec, serve
from tests.experts.upstream.vendor_words import VENDORS, events_of, message, send, send_events
from warehouse import CannotRunError

PRICE = {
    **{"usd_per_mtok_in": 3, "usd_per_mtok_cached_in": 0.3, "usd_per_mtok_out": 15},
    **{"usd_per_mtok_cache_write": 3.75, "usd_per_mtok_cache_write_1h": 6},
}
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
]
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Its import is no part of a call."""
    load_litellm()


@pytest.fixture
def googles_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vertex AI's token, which Google's library would fetch."""
    from litellm.llms.vertex_ai.vertex_llm_base import VertexBase

    async def fetch(*_: Any, **__: Any) -> tuple[str, str]:
        return "ya29.token-of-google", "p"

    monkeypatch.setattr(VertexBase, "_ensure_access_token_async", fetch)
    monkeypatch.setattr(VertexBase, "_ensure_access_token", lambda *_, **__: ("ya29.token-of-google", "p"))


def ask_anthropic(act: Any, **fields: Any) -> tuple[Any, Any]:
    return ask(act, expert=ANTHROPIC, **fields)


def stream_anthropic(act: Any, **fields: Any) -> Any:
    return stream(act, expert=ANTHROPIC, **fields)


@pytest.mark.parametrize("name", VENDORS)
def test_each_vendor_is_asked_and_read_whole_and_streamed(name: str, googles_token: None) -> None:
    vendor = VENDORS[name]

    async def run(act: Any, streamed: bool) -> tuple[Any, Any]:
        async with serve(act) as server:
            address = server.url.removesuffix("/v1") + vendor.base
            spec = make_spec(address, backend="litellm", model=vendor.model, dialect={"body": vendor.body})
            client = client_of(spec, "odd-key-of-vendor")
            try:
                if not streamed:
                    return await client.answer(make_ask(spec), 4.0), server.calls
                opened = await client.open_stream(make_ask(spec), 4.0)
                assert not isinstance(opened, Failure), opened
                return ([item async for item in opened], opened.usage), server.calls
            finally:
                await client.aclose()

    answer, calls = asyncio.run(run(send(200, vendor.whole), False))
    assert isinstance(answer, Answer), answer
    assert (answer.text, answer.finish_reason, answer.body["model"]) == ("Fine.", "stop", "alpha")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == vendor.tokens
    assert not usage.is_estimated
    assert len(calls) == 1
    assert calls[0].head.split()[1].startswith(vendor.path)
    key = "token-of-google" if name == "vertex" else "odd-key-of-vendor"
    assert calls[0].head.count(key) == 1
    assert "50" in json.dumps(calls[0].body)  # the limit on tokens

    (items, usage), calls = asyncio.run(run(vendor.pieces[0], True))
    assert said(items) == "Fine."
    assert [c["finish_reason"] for item in items for c in item.body["choices"] if c["finish_reason"]] == [
        "stop"
    ]
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == vendor.tokens
    assert len(calls) == 1

    (items, usage), _ = asyncio.run(run(vendor.pieces[1], True))
    assert items[-1].kind is FailureKind.CUT_STREAM
    assert said(items) == "Fine."
    assert usage.is_estimated  # litellm would add up a bill that nobody sent


def test_what_the_cache_did_is_billed_at_its_own_rates() -> None:
    reply, _ = ask(send(200, message()), expert=ANTHROPIC | {"price": PRICE})
    # Of 22 tokens read 5 were cached and 7 written into the cache, 3 of those for an hour.
    usd = (10 * 3 + 5 * 0.3 + 4 * 3.75 + 3 * 6 + 2 * 15) / 1e6
    assert reply.usage.cost_usd(make_spec(price=PRICE).price) == pytest.approx(usd, abs=1e-15)
    _, usage = stream_anthropic(send_events(*events_of("Fi", "ne.")))
    assert usage == reply.usage


def test_tools_are_asked_for_and_called_whole_and_streamed() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "x"}}
    turns = [
        {"role": "user", "content": "Look."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "toolu_0", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_0", "content": "nothing there"},
    ]
    reply, server = ask_anthropic(
        send(200, message("I look.", content=[call], stop_reason="tool_use")),
        body={"tools": TOOLS, "messages": turns, "tool_choice": "auto"},
    )
    (called,) = reply.body["choices"][0]["message"]["tool_calls"]
    assert (called["function"]["name"], json.loads(called["function"]["arguments"])) == ("look", {"at": "x"})
    assert reply.finish_reason == "tool_calls"
    sent = server.calls[0].body
    assert [tool["name"] for tool in sent["tools"]] == ["look"]
    assert sent["messages"][1]["content"][0]["type"] == "tool_use"
    assert sent["messages"][2]["content"][0]["tool_use_id"] == "toolu_0"

    begin, *_ = events_of()
    events = [
        begin,
        {"type": "content_block_start", "index": 0, "content_block": call | {"input": {}}},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": part},
            }
            for part in ('{"at":', ' "x"}')
        ),
        *events_of(stop="tool_use")[2:],
    ]
    items, _ = stream_anthropic(send_events(*events))
    deltas = [c["delta"] for item in items for c in item.body["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls[0]["function"]["name"] == "look"
    assert json.loads("".join(call["function"].get("arguments") or "" for call in calls)) == {"at": "x"}


REFUSALS = {
    "429": (
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}},
        FailureKind.BUSY,
    ),
    "529": (529, OVERLOADED, FailureKind.BUSY),
    "500": (
        500,
        {"type": "error", "error": {"type": "api_error", "message": "oh"}},
        FailureKind.SERVER_ERROR,
    ),
    "401": (
        401,
        {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
        FailureKind.CREDENTIALS,
    ),
    "400": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"},
        },
        FailureKind.CONTEXT_OVERFLOW,
    ),
    "error in a 200": (200, OVERLOADED, FailureKind.BUSY),
    "no message": (200, {"type": "message"}, FailureKind.MALFORMED),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_is_read_in_the_vendors_own_words_and_nothing_is_tried_again(what: str) -> None:
    status, body, kind = REFUSALS[what]
    reply, server = ask_anthropic(send(status, body, retry_after="7"))
    assert reply.kind is kind, reply
    assert len(server.calls) == 1
    assert reply.retry_after_s == (7.0 if status != 200 else reply.retry_after_s)
    reply = stream_anthropic(send(status, body, retry_after="7"))
    if status >= 300:
        assert reply.kind is kind
        assert reply.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (send_events(*events_of("Fi", "ne.")[:4], cut=True), FailureKind.BROKEN_CONNECTION),
        (send_events(*events_of("Fi", "ne.")[:4]), FailureKind.CUT_STREAM),
        (send_events(*events_of("Fi", "ne.")[:4], OVERLOADED), FailureKind.BUSY),
        (send_events(*events_of("Fi", "ne.")[:4], 9.0), FailureKind.STALLED),
        (send_events(*events_of("Fi")[:3], {"type": "content_block_delta"}), FailureKind.MALFORMED),
    ],
)
def test_a_stream_that_breaks_off_fails_as_what_it_is_and_its_words_are_counted(act: Any, kind: str) -> None:
    items, usage = stream_anthropic(act, limit_s=1.0)
    assert items[-1].kind is kind
    assert said(items).startswith("Fi")
    assert "Traceback" not in items[-1].message
    assert usage.is_estimated
    assert usage.completion_tokens >= 1


def test_a_first_event_that_is_an_error_lets_another_expert_answer() -> None:
    assert stream_anthropic(send_events(OVERLOADED)).kind is FailureKind.BUSY


def test_a_stream_without_end_is_bounded() -> None:
    async def act(call: Call) -> None:
        await call.begin_stream()
        while True:
            await call.chunk(b"data: " + b"x" * (1 << 20))

    reply = stream_anthropic(act, timeout_s=20, limit_s=20)
    assert reply.kind is FailureKind.MALFORMED
    assert "MiB" in reply.message


def test_one_word_said_five_hundred_times_is_an_answer() -> None:
    items, _ = stream_anthropic(send_events(*events_of(*["again "] * 500)), limit_s=20)
    assert said(items) == "again " * 500


def test_cancelling_hangs_up_at_once() -> None:
    async def run(streamed: bool) -> None:
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def act(call: Call) -> None:
            arrived.set()
            if streamed:
                await call.begin_stream()
            if await call.until_hung_up():
                gone.set()

        async with serve(act) as server:
            client = client_of(make_spec(server.url, **ANTHROPIC))
            begin = client.open_stream if streamed else client.answer
            task = asyncio.ensure_future(begin(make_ask(client.spec), 5.0))
            await arrived.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(4.0):
                await gone.wait()
            await client.aclose()

    asyncio.run(run(streamed=False))
    asyncio.run(run(streamed=True))


def test_options_that_a_vendor_has_not_are_left_out_or_refused() -> None:
    harmless = {"n": 1, "seed": 4, "logprobs": False, "presence_penalty": 0.5, "logit_bias": {}}
    reply, server = ask_anthropic(send(200, message()), body=harmless)
    assert isinstance(reply, Answer)
    assert not set(harmless) & set(server.calls[0].body)
    for missed in ({"n": 2}, {"logprobs": True}, {"logit_bias": {"5": 1}}):
        reply, server = ask_anthropic(send(200, message()), body=missed)
        assert reply.kind is FailureKind.REFUSED_PARAMETER
        assert reply.param == next(iter(missed))
        assert not server.calls


PICTURE = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/x.png", "https://x.example/x", "gs://bucket/x", PICTURE]
)
def test_nothing_is_fetched_for_a_request(address: str) -> None:
    parts = [
        {"type": "text", "text": "see http://x.example"},
        {"type": "image_url", "image_url": {"url": address}},
    ]
    reply, server = ask_anthropic(
        send(200, message()), body={"messages": [{"role": "user", "content": parts}]}
    )
    if address is PICTURE:
        assert isinstance(reply, Answer)
        assert server.calls[0].body["messages"][0]["content"][1]["source"]["media_type"] == "image/png"
    else:
        assert reply.kind is FailureKind.BAD_REQUEST
        assert not server.calls


GEMINI = {"backend": "litellm", "model": "gemini/gemini-2.0-flash"}


@pytest.mark.parametrize("vendor", [ANTHROPIC, GEMINI], ids=["anthropic", "gemini"])
@pytest.mark.parametrize("field", ["images", "thinking_blocks", "provider_specific_fields", "annotations"])
def test_fields_of_a_turn_that_are_not_openais_are_not_read(vendor: dict[str, Any], field: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/secret.png"}}
    before = {"role": "assistant", "content": "a picture", field: [picture]}
    turns = [{"role": "user", "content": "draw"}, before, {"role": "user", "content": "again"}]
    _, server = ask(send(400, {"error": {"message": "no"}}), expert=vendor, body={"messages": turns})
    assert len(server.calls) == 1  # nothing came before it, and nothing of it went along
    assert "secret" not in json.dumps(server.calls[0].body)


@pytest.mark.parametrize("place", ["http", "gs"])
def test_an_address_beside_a_text_or_far_into_a_field_is_refused(place: str) -> None:
    url = f"{'x' * 50}{place}://x.example/y"
    for part in (
        {"type": "text", "text": "hi", "image_url": {"url": url}},
        {"type": "image_url", "image_url": {"url": url}},
    ):
        body = {"messages": [{"role": "user", "content": [part]}]}
        reply, server = ask(send(200, message()), expert=GEMINI, body=body)
        assert reply.kind is FailureKind.BAD_REQUEST
        assert not server.calls


@pytest.mark.parametrize(
    "vendors_own", ["googleSearch", "code_execution", "urlContext", "web_search_20250305"]
)
@pytest.mark.parametrize("is_beside", [True, False])
def test_a_tool_that_costs_does_not_pass_as_a_function(vendors_own: str, is_beside: bool) -> None:
    tool = {"type": "function", vendors_own: {}} | (TOOLS[0] if is_beside else {})
    for vendor in (ANTHROPIC, GEMINI):
        reply, server = ask(send(200, message()), expert=vendor, body={"tools": [tool]})
        assert reply.kind is FailureKind.BAD_REQUEST
        assert not server.calls


def test_what_is_no_conversation_is_refused_before_it_is_sent() -> None:
    reply, server = ask_anthropic(send(200, message()), body={"messages": [{"role": "tool", "content": "x"}]})
    assert reply.kind is FailureKind.BAD_REQUEST
    assert "Received" not in reply.message  # what litellm repeats of the request
    assert not server.calls

    async def complete_text() -> Any:
        spec = make_spec(**ANTHROPIC)
        client = client_of(spec)
        try:
            return await client.answer(ask_of(spec, {"prompt": "Go on"}), 2.0)
        finally:
            await client.aclose()

    reply = asyncio.run(complete_text())
    assert reply.kind is FailureKind.BAD_REQUEST
    assert "in a conversation" in reply.message


def test_a_key_is_in_no_message_no_answer_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    key = "odd-key-0123456789"
    with caplog.at_level(logging.DEBUG):
        reply, server = ask_anthropic(
            send(401, {"error": {"type": "authentication_error", "message": f"bad {key}"}}), key=key
        )
        assert key in server.calls[0].head
        assert reply.kind is FailureKind.CREDENTIALS
        assert key not in reply.message
        reply, _ = ask_anthropic(send(200, message(f"It is {key}.")), key=key)
        assert key not in json.dumps(reply.body)
        items, _ = stream_anthropic(send_events(*events_of("odd-key-of-vendor")))
        assert "odd-key-of-vendor" not in json.dumps([item.body for item in items if isinstance(item, Piece)])
    assert key not in caplog.text
    assert "What is six times seven" not in caplog.text


@pytest.fixture
def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")


@pytest.mark.parametrize("model", ["anthropic/m", "bedrock/converse/anthropic.m-v1"])
def test_credentials_that_nobody_has_are_the_operators_fault(model: str, without_keys: None) -> None:
    async def run() -> Any:
        spec = make_spec(backend="litellm", model=model)
        client = connect(spec)
        try:
            return await client.answer(make_ask(spec), 5.0)
        finally:
            await client.aclose()

    assert asyncio.run(run()).kind is FailureKind.CREDENTIALS


def test_the_catalogue_says_what_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(backend="litellm", model="replicate/m")
    (problem,) = check_runnable(spec, probe_hardware())
    assert "asked through litellm" in problem.what
    with pytest.raises(CannotRunError, match="asked through litellm"):
        DirectClient(spec)
    with pytest.raises(ValueError, match="write a credential into a file"):
        make_spec(**ANTHROPIC, dialect={"body": {"aws_secret_access_key": "x"}})
    monkeypatch.setattr("experts.backends.kinds.litellm.is_installed", lambda: False)
    with pytest.raises(CannotRunError, match=r"pip install 'leeroo-orchestrator\[litellm\]'"):
        connect(make_spec(**ANTHROPIC))


def test_litellm_is_imported_for_such_an_expert_alone() -> None:
    program = """
import sys
from experts import ExpertSpec, check_runnable, probe_hardware
from serve.experts.direct import DirectClient
price = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1}
spec = {"name": "a", "backend": "openai", "model": "m", "base_url": "http://h/v1", "price": price}
DirectClient(ExpertSpec(**spec))
other = ExpertSpec(**spec | {"backend": "litellm", "model": "anthropic/m"})
check_runnable(other, probe_hardware())
assert "litellm" not in sys.modules
import socket
socket.socket.connect = None  # nothing is fetched for the import
DirectClient(other)
assert "litellm" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_round_asks_again_where_that_helps_and_pays_for_what_was_told(questions_of: Any) -> None:
    from experts import answer_and_grade, build_backend
    from tests.scripted_api import ChatHandler, serve_chat

    seen: list[str] = []

    class Handler(ChatHandler):
        def act(self, body: dict[str, Any]) -> None:
            seen.append(self.headers["idempotency-key"])
            if len(seen) == 1:
                return self.send(429, json.dumps(OVERLOADED), {"retry-after-ms": "10"})
            return self.send(200, json.dumps(message("Paris")))

    with serve_chat(Handler) as url:
        fields = {"price": PRICE, "api_key_env": None, **ANTHROPIC}
        spec = ExpertSpec.model_validate(
            make_spec(url).model_dump(by_alias=True, exclude={"prices"}) | fields
        )
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("ANTHROPIC_API_KEY", "odd-key-of-vendor")
            rows = questions_of([{"prompt": "Capital of France?", "answer": "Paris"}])
            table = answer_and_grade(build_backend(spec), spec, rows, round="r", run_id="i")
    (row,) = table.to_pylist()
    assert (row["text"], row["score"], row["error"]) == ("Paris", 1.0, None)
    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert row["cost_usd"] == pytest.approx((10 * 3 + 5 * 0.3 + 4 * 3.75 + 3 * 6 + 2 * 15) / 1e6)
