"""What a request's body may be, and how long it may stay away."""

import asyncio
import json

import pytest

from serve.http.body_limit import BodyLimit


def ask(messages, *, max_bytes=10):
    """Return status and body of the reply to a request whose body comes in these parts and stops."""
    sent = []
    coming = iter(messages)

    async def receive():
        message = next(coming, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def send(message):
        sent.append(message)

    async def echo(scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    app = BodyLimit(echo, max_bytes, patience_s=0.2)
    asyncio.run(asyncio.wait_for(app({"type": "http", "headers": []}, receive, send), 5))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_parts_arrives_whole():
    assert ask([part(b"he", more=True), part(b"llo")]) == (200, b"hello")


@pytest.mark.parametrize("messages", [[], [part(b"he", more=True)]], ids=["nothing", "a part"])
def test_a_body_that_stays_away_is_not_waited_for_for_ever(messages):
    status, body = ask(messages)
    assert (status, json.loads(body)["error"]["code"]) == (408, "body_timeout")


def test_a_body_that_grows_too_large_is_refused():
    status, body = ask([part(b"hello ", more=True), part(b"world")])
    assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
