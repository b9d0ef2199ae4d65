"""Streams against a server that breaks off, falls silent and says odd things, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from experts.upstream import Failure, FailureKind, UpstreamClient, UpstreamStream
from tests.experts.upstream.asking import END, ROLE, WORD, answer_fine, events, said, stream
from tests.experts.upstream.scripted_socket import Act, Call, completion, make_ask, make_spec, piece, serve


def test_closing_a_stream_hangs_up_at_once_and_tells_what_was_seen() -> None:
    async def run() -> Any:
        gone = asyncio.Event()

        async def act(call: Call) -> None:
            await call.begin_stream()
            await call.event(ROLE)
            await call.event(WORD)
            if await call.until_hung_up():
                gone.set()

        async with serve(act) as server:
            client = UpstreamClient(make_spec(server.url), "")
            opened = await client.open_stream(make_ask(client.spec), 5.0)
            assert isinstance(opened, UpstreamStream)
            await opened.aclose()
            async with asyncio.timeout(4.0):
                await gone.wait()
            await client.aclose()
            return opened.usage

    usage = asyncio.run(run())
    assert usage.is_estimated
    assert usage.completion_tokens >= 1


def test_a_stream_arrives_whole() -> None:
    items, usage = stream(events(ROLE, WORD, END, {"choices": [], "usage": completion()["usage"]}))
    assert said(items) == "Fine."
    assert not usage.is_estimated
    assert items[-1].body["choices"][0]["finish_reason"] == "stop"


BEFORE_THE_FIRST_WORD: dict[str, Act] = {
    "an error event": events(ROLE, {"error": {"message": "overloaded", "code": 503}}),
    "a broken connection": events(ROLE, cut=True),
    "the end of the stream": events(ROLE, done=False),
    "the end, said": events(ROLE),
    "a stop without anything": events(ROLE, END),
    "an empty list of choices": events({"choices": []}),
    "choices that are null": events({"choices": None}),
    "finish_reason error": events(
        ROLE, piece({"content": ""}, "error", error={"code": 502, "message": "gone"})
    ),
    "half of a piece": events(ROLE, 'data: {"choices": [{"del\n\n'),
}


@pytest.mark.parametrize("what", BEFORE_THE_FIRST_WORD)
def test_nothing_was_shown_so_it_is_a_failure(what: str) -> None:
    reply = stream(BEFORE_THE_FIRST_WORD[what])
    assert isinstance(reply, Failure), reply


def test_what_breaks_off_later_ends_with_its_failure() -> None:
    items, usage = stream(events(ROLE, WORD, cut=True))
    assert said(items) == "Fine."
    assert isinstance(items[-1], Failure)
    assert items[-1].kind is FailureKind.BROKEN_CONNECTION
    assert items[-1].usage == usage


def test_silence_within_a_stream_is_bounded() -> None:
    items, _ = stream(events(ROLE, WORD, 6.0, END), timeout_s=9.0, limit_s=1.5)
    assert isinstance(items[-1], Failure)
    assert items[-1].kind is FailureKind.STALLED


def test_a_server_that_streams_nothing_is_read_all_the_same() -> None:
    items, usage = stream(answer_fine)
    assert said(items) == "Fine."
    assert usage.completion_tokens == 2
