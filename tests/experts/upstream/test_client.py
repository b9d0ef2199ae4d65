"""The client against a server that stalls, resets, drips and lies, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from experts.upstream import Answer, Failure, FailureKind, UpstreamClient, hand_over_keys
from tests.experts.upstream.asking import ANTHROPIC, ROLE, answer_fine, ask, client_of, stream
from tests.experts.upstream.scripted_socket import (
    Act,
    Call,
    completion,
    make_ask,
    make_spec,
    serve,
)
from tests.ports import free_port
from warehouse import CannotRunError


def test_an_answer_comes_with_its_bill_and_the_expert_named() -> None:
    reply, server = ask(answer_fine, key="sk-abcdefgh")
    assert isinstance(reply, Answer)
    assert (reply.text, reply.body["model"], reply.usage.completion_tokens) == ("Fine.", "alpha", 2)
    assert "authorization: bearer sk-abcdefgh" in server.calls[0].head.lower()
    assert server.calls[0].head.startswith("POST /v1/chat/completions ")
    assert (server.calls[0].body["model"], server.calls[0].body["temperature"]) == ("m", 0.0)


def reply_of(status: int, body: bytes, **headers: str) -> Act:
    async def act(call: Call) -> None:
        await call.reply(status, body, **headers)

    return act


async def say_nothing(call: Call) -> None:
    await call.until_hung_up()


async def stall_within(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")
    await call.until_hung_up()


async def drip_for_ever(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        await call.send(b" ")
        await asyncio.sleep(0.02)


async def reset_at_once(call: Call) -> None:
    call.reset()


async def reset_within(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")
    call.reset()


async def end_early(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{}")
    call.writer.close()


async def cut_chunk(call: Call) -> None:
    await call.send(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\n{"choi')
    call.writer.close()


async def huge_header(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 300_000 + b"\r\n\r\n{}")


async def no_http(call: Call) -> None:
    await call.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    call.writer.close()


BOMB = gzip.compress(b" " * (40 << 20), 1)


async def bomb(call: Call) -> None:
    await call.reply(200, BOMB, content_encoding="gzip")


LATE = {FailureKind.TIMEOUT, FailureKind.STALLED}
FAULTS: dict[str, tuple[Act, FailureKind]] = {
    "silence": (say_nothing, FailureKind.TIMEOUT),
    "silence within the body": (stall_within, FailureKind.STALLED),
    "a drip without end": (drip_for_ever, FailureKind.STALLED),
    "a reset at once": (reset_at_once, FailureKind.BROKEN_CONNECTION),
    "a reset within the body": (reset_within, FailureKind.BROKEN_CONNECTION),
    "an end before the length": (end_early, FailureKind.BROKEN_CONNECTION),
    "a chunk cut off": (cut_chunk, FailureKind.BROKEN_CONNECTION),
    "a header of 300 KB": (huge_header, FailureKind.MALFORMED),
    "no HTTP": (no_http, FailureKind.MALFORMED),
    "a bomb in gzip": (bomb, FailureKind.MALFORMED),
    "gzip that is none": (reply_of(200, b"{}", content_encoding="gzip"), FailureKind.MALFORMED),
    "a redirect": (reply_of(307, b"", location="https://elsewhere.example/v1"), FailureKind.MODEL_GONE),
    "a page": (reply_of(200, b"<html>Just a moment</html>"), FailureKind.MALFORMED),
    "an empty body": (reply_of(200, b""), FailureKind.MALFORMED),
    "a page with 502": (reply_of(502, b"<html><title>Bad gateway</title></html>"), FailureKind.SERVER_ERROR),
}


@pytest.fixture(params=["openai", "litellm"])
def expert(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Fields of an expert: what befalls a call is read in one way, whatever the dialect."""
    if request.param == "openai":
        return {}
    client_of(make_spec(**ANTHROPIC))  # the import is no part of a call
    return ANTHROPIC


@pytest.mark.parametrize("what", FAULTS)
def test_whatever_befalls_a_call_is_a_failure_of_its_kind(what: str, expert: dict[str, Any]) -> None:
    act, kind = FAULTS[what]
    begun = time.monotonic()
    reply, _ = ask(act, timeout_s=1.0 if kind in LATE else 4.5, expert=expert)
    assert isinstance(reply, Failure), reply
    assert reply.kind is kind, reply
    assert time.monotonic() - begun < 4.0
    assert reply.in_time_of_caller == (kind in LATE)


@pytest.mark.parametrize("what", [what for what in FAULTS if what not in {"a bomb in gzip"}])
def test_a_stream_that_never_shows_anything_is_a_failure_too(what: str, expert: dict[str, Any]) -> None:
    act, kind = FAULTS[what]
    reply = stream(act, timeout_s=1.0, expert=expert)
    assert isinstance(reply, Failure), reply
    if reply.kind is not kind:  # a stream's bytes need no end, and no length
        assert reply.kind in {FailureKind.CUT_STREAM, FailureKind.BROKEN_CONNECTION, FailureKind.MALFORMED}


def test_the_experts_own_limit_is_the_experts_fault() -> None:
    reply, _ = ask(say_nothing, timeout_s=9.0, limit_s=0.3)
    assert reply.kind is FailureKind.TIMEOUT
    assert not reply.in_time_of_caller


def test_a_limit_that_is_the_experts_own_stays_so_after_a_refused_field() -> None:
    async def act(call: Call) -> None:
        if "temperature" in call.body:
            return await call.reply(400, {"error": {"message": "not supported", "param": "temperature"}})
        return await say_nothing(call)

    reply, _ = ask(act, timeout_s=2.0, limit_s=2.0)
    assert reply.kind is FailureKind.TIMEOUT
    assert not reply.in_time_of_caller


def test_headers_of_thirty_kilobytes_are_read() -> None:
    async def act(call: Call) -> None:
        await call.reply(200, completion(), content_security_policy="a" * 30_000)

    assert isinstance(ask(act)[0], Answer)


def test_compressed_replies_are_read() -> None:
    packed = gzip.compress(json.dumps(completion()).encode())
    assert isinstance(ask(reply_of(200, packed, content_encoding="gzip"))[0], Answer)


def test_nobody_there() -> None:
    port = free_port()

    async def run() -> Any:
        client = UpstreamClient(make_spec(f"http://127.0.0.1:{port}/v1"), "")
        try:
            return await client.answer(make_ask(client.spec), 2.0)
        finally:
            await client.aclose()

    reply = asyncio.run(run())
    assert reply.kind is FailureKind.UNREACHABLE
    assert not reply.consequence.may_be_billed


def test_the_loopback_is_never_proxied_and_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(ask(answer_fine)[0], Answer)

    async def run() -> Any:
        async with serve(answer_fine) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
            client = UpstreamClient(make_spec("http://api.example/v1"), "")
            try:
                return await client.answer(make_ask(client.spec), 2.0), proxy.calls[0].head
            finally:
                await client.aclose()

    reply, head = asyncio.run(run())
    assert isinstance(reply, Answer)
    assert head.startswith("POST http://api.example/v1/chat/completions ")


def test_cancelling_a_call_hangs_up_at_once() -> None:
    async def run(streamed: bool) -> bool:
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def act(call: Call) -> None:
            arrived.set()
            if streamed:
                await call.begin_stream()
                await call.event(ROLE)
            if await call.until_hung_up():
                gone.set()

        async with serve(act) as server:
            client = UpstreamClient(make_spec(server.url), "")
            begin = client.open_stream if streamed else client.answer
            task = asyncio.ensure_future(begin(make_ask(client.spec), 5.0))
            await arrived.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(4.0):
                await gone.wait()
            await client.aclose()
            return task.cancelled()

    assert asyncio.run(run(streamed=False))
    assert asyncio.run(run(streamed=True))


def refuse(field: str) -> Act:
    async def act(call: Call) -> None:
        if field in call.body:
            text = f"Unsupported parameter: '{field}' is not supported with this model."
            return await call.reply(
                400, {"error": {"message": text, "param": field, "code": "unsupported_parameter"}}
            )
        return await call.reply(200, completion())

    return act


@pytest.mark.parametrize(("field", "sent"), [("max_tokens", "max_completion_tokens"), ("temperature", None)])
def test_a_refused_field_is_dropped_remembered_and_asked_again(field: str, sent: str | None) -> None:
    async def run() -> Any:
        async with serve(refuse(field)) as server:
            client = UpstreamClient(make_spec(server.url), "")
            replies = [await client.answer(make_ask(client.spec), 2.0) for _ in range(3)]
            await client.aclose()
            return replies, server.calls

    replies, calls = asyncio.run(run())
    assert all(isinstance(reply, Answer) for reply in replies)
    assert len(calls) == 4  # one refusal in all
    assert field not in calls[-1].body
    assert sent is None or calls[-1].body[sent] == 50


def test_both_limits_refused_is_a_failure_and_never_a_call_without_a_limit() -> None:
    async def act(call: Call) -> None:
        name = next((name for name in ("max_tokens", "max_completion_tokens") if name in call.body), None)
        assert name is not None
        await call.reply(400, {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}})

    reply, server = ask(act)
    assert reply.kind is FailureKind.REFUSED_PARAMETER
    assert len(server.calls) == 2


@pytest.mark.parametrize("field", ["logprobs", "tools", "n", "response_format", "stop"])
def test_what_a_caller_would_miss_is_not_dropped(field: str) -> None:
    reply, server = ask(refuse(field), body={field: True})
    assert reply.kind is FailureKind.REFUSED_PARAMETER
    assert reply.param == field
    assert len(server.calls) == 1


def test_a_key_that_comes_back_is_not_shown() -> None:
    key = "odd-key-0123456789"
    for body in (json.dumps({"error": {"message": f"bad key {key}"}}).encode(), f"<p>{key}</p>".encode()):
        reply, _ = ask(reply_of(401, body), key=key)
        assert reply.kind is FailureKind.CREDENTIALS
        assert key not in reply.message
    reply, _ = ask(reply_of(200, json.dumps(completion(key)).encode()), key=key)
    assert key not in json.dumps(reply.body)


def test_a_key_is_trimmed_or_its_variable_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(api_key_env="KEY_OF_THE_TEST")
    monkeypatch.setenv("KEY_OF_THE_TEST", " sk-abc\n")
    assert UpstreamClient(spec)._key == "sk-abc"
    for bad in ("sk-\u00e4bc", "sk-a\nbc", "sk a", " ", "sk-\x7f"):
        monkeypatch.setenv("KEY_OF_THE_TEST", bad)
        with pytest.raises(CannotRunError, match="KEY_OF_THE_TEST"):
            UpstreamClient(spec)
    monkeypatch.delenv("KEY_OF_THE_TEST")
    with pytest.raises(CannotRunError, match="KEY_OF_THE_TEST is not set"):
        UpstreamClient(spec)


def test_keys_are_handed_over_by_a_file_that_only_its_owner_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", "sk-abcdefgh")
    spec = make_spec(api_key_env="KEY_OF_THE_TEST")
    told = hand_over_keys([spec, make_spec()])
    assert "sk-abcdefgh" not in json.dumps(told)
    path = Path(next(iter(told.values())))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("KEY_OF_THE_TEST")
    assert hand_over_keys([spec]) == {}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert UpstreamClient(spec)._key == "sk-abcdefgh"


@pytest.mark.parametrize("status", [429, 500])
@pytest.mark.parametrize("streamed", [False, True])
def test_of_an_endless_error_the_beginning_says_what_it_is(status: int, streamed: bool) -> None:
    async def act(call: Call) -> None:
        await call.send(f"HTTP/1.1 {status} X\r\ncontent-type: text/html\r\n\r\n".encode())
        while True:
            await call.send(b"<p>words</p>" * 10_000)

    failure = stream(act) if streamed else ask(act)[0]
    assert isinstance(failure, Failure)
    assert failure.kind == {429: FailureKind.BUSY, 500: FailureKind.SERVER_ERROR}[status]


WIDE: list[Any] = [
    {str(n): {"a": {"b": {"c": ["x"]}}} for n in range(20_000)},
    {"error": {"message": "no", "detail": [[{"message": "x"}] * 100] * 100}},
    {"errors": [{"loc": ["body", n], "msg": "no"} for n in range(20_000)]},
]


@pytest.mark.parametrize("content", WIDE)
def test_an_error_is_not_looked_through_for_long(content: Any) -> None:
    """Everybody else waits meanwhile."""
    took_s, refused = [], reply_of(400, json.dumps(content).encode())
    for _ in range(3):  # a collection of a big process's garbage may fall into one of them
        began = time.process_time()
        failure, _ = ask(refused)
        took_s.append(time.process_time() - began)
        assert isinstance(failure, Failure)
    assert min(took_s) < 0.5


def test_nobody_waits_while_a_long_reply_is_read() -> None:
    event = b'data: {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": null}]}\n\n'
    longest_s = 0.0

    async def run() -> Any:
        nonlocal longest_s
        async with serve(reply_of(200, event * 40_000, content_type="text/event-stream")) as server:
            client = UpstreamClient(make_spec(server.url, timeout_s=60), "")
            asking = asyncio.ensure_future(client.answer(make_ask(client.spec), 60.0))
            while not asking.done():
                began = time.thread_time()  # what the loop itself works, whoever else is on the machine
                await asyncio.sleep(0.01)
                longest_s = max(longest_s, time.thread_time() - began)
            await client.aclose()
            return asking.result()

    began = time.process_time()
    assert isinstance(asyncio.run(run()), Failure)
    assert longest_s < max(0.2, (time.process_time() - began) / 3)
