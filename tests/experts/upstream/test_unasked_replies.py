"""What an API sends unasked is nobody's answer: no caller is given the reply to another one's question."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experts.upstream import Answer, UpstreamClient
from tests.experts.upstream.scripted_socket import Call, completion, make_ask, make_spec, serve

SECOND = json.dumps(completion("another's")).encode()
UNASKED = [
    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(SECOND) + SECOND,
    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(SECOND) + SECOND[:40],
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(SECOND) + SECOND + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"\r\n\r\n",
    b'{"choices": []}',
]


def ask_in_turn(unasked: bytes, after_s: float | None, count: int = 4) -> list[tuple[str, object]]:
    """Ask one question after the other; each reply has another behind it, after a moment."""

    async def act(call: Call) -> None:
        await call.reply(200, completion(call.body["messages"][0]["content"]))
        if after_s is None:
            return await call.send(unasked)
        await asyncio.sleep(after_s)
        await call.send(unasked)

    async def run() -> list[tuple[str, object]]:
        async with serve(act) as server:
            client = UpstreamClient(make_spec(server.url), "")
            answers: list[tuple[str, object]] = []
            for number in range(count):
                ask = make_ask(client.spec, messages=[{"role": "user", "content": f"question {number}"}])
                reply = await client.answer(ask, 3.0)
                answers.append((f"question {number}", reply))
                await asyncio.sleep(0.03)
            await client.aclose()
            return answers

    return asyncio.run(run())


@pytest.mark.parametrize("unasked", UNASKED)
@given(after_s=st.sampled_from([None, 0.0, 0.01]))
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_question_gets_its_own_answer(unasked: bytes, after_s: float | None) -> None:
    for question, reply in ask_in_turn(unasked, after_s):
        assert not isinstance(reply, Answer) or reply.text == question
    # What is no HTTP may come in one piece with the reply before it, which cannot be told apart then.
    assert isinstance(reply, Answer) or not unasked.startswith(b"HTTP")
