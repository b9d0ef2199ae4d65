"""A client that takes nothing of its stream: it is taken to have left, and others have its place."""

import asyncio
import json
import logging
import socket

import pytest
import uvicorn
from fake_experts import FixedRouter, LocalLedger
from hostile_upstream import Plan
from test_money import spec_of

from serve.config import ServeConfig
from serve.experts.direct import DirectClient
from serve.http.api import create_api
from serve.http.short_way import Destination, ShortWay
from serve.request.gateway import Gateway

PIECE = {
    "index": 0,
    "delta": {"content": ""},
    "finish_reason": None,
    "logprobs": {"content": ["x" * 100_000]},
}
LONG = b"data: " + json.dumps({"choices": [PIECE]}).encode() + b"\n\n"
SHOWS = b'data: {"choices": [{"index": 0, "delta": {"content": "so"}, "finish_reason": null}]}\n\n'


@pytest.mark.parametrize("is_short_way", [False, True])
def test_who_takes_nothing_of_a_stream_holds_no_place(upstream, tmp_path, monkeypatch, is_short_way):
    monkeypatch.setattr("serve.http.event_stream._UNREAD_S", 0.5)
    upstream.plans["flood"] = Plan(raw=(SHOWS, *([LONG] * 200)))
    upstream.bills.clear()
    logging.disable(logging.CRITICAL)

    async def go():
        config = ServeConfig(home=tmp_path, access="open")
        experts = {"alpha": DirectClient(spec_of("alpha", upstream, timeout_s=20))}
        gateway = Gateway(config, FixedRouter("alpha"), LocalLedger(config), experts)
        app = create_api(gateway)
        if is_short_way:
            destination = Destination()
            destination.set(app)
            app = ShortWay(app, destination)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        body = {"model": "alpha", "messages": [{"role": "user", "content": "#flood#"}], "stream": True}
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n"
        port = server.servers[0].sockets[0].getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + data)
            while not gateway._in_flight:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(8):
                while gateway._in_flight or gateway.one_expert.turns["alpha"].at_once:
                    await asyncio.sleep(0.05)
            assert await gateway.drain(5) == 0
        server.should_exit = True
        server.force_exit = True
        await running
        await experts["alpha"].aclose()

    try:
        asyncio.run(go())
    finally:
        logging.disable(logging.NOTSET)
