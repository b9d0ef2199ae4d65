"""Words go from a request to the store of texts, where they may, and to no log on the way."""

import asyncio
import logging
import time

import httpx
import pytest
from fake_experts import LocalLedger, LocalRouter, ScriptedExpert

from experts.upstream import Failure, FailureKind
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.traffic.carrying import carry_traffic
from serve.request.gateway import Gateway
from serve.texts import recording_kept, text_keeper
from warehouse import Warehouse
from warehouse.traffic.forgetting import forget
from warehouse.traffic.sealing import KEY_VARIABLE, make_key
from warehouse.traffic.selection import Selection
from warehouse.traffic.texts import TextStore

SECRET = "xyzzy-7731"
NAMES = ("smollm2-135m", "gemma-3-270m")


def serve(orchestrator, home, *experts, **fields):
    config = ServeConfig(home=home, access="auto", **fields)
    by_name = {expert.spec.name: expert for expert in experts or map(ScriptedExpert, NAMES)}
    return Gateway(config, LocalRouter(orchestrator), LocalLedger(config), by_name, text_keeper(config))


def ask(gateway, **fields):
    body = {"model": "leeroo", "messages": [{"role": "user", "content": f"What is {SECRET}?"}], **fields}

    async def go():
        transport = httpx.ASGITransport(app=create_api(gateway), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
            reply = await web.post("/v1/chat/completions", json=body)
            await gateway.drain(5)
            return reply

    return asyncio.run(go())


def holds(home, word=SECRET):
    return [path for path in home.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def read_soon(home, request_id):
    ends = time.monotonic() + 10
    while not (found := TextStore(home).read([request_id])) and time.monotonic() < ends:
        time.sleep(0.02)
    return found[request_id]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_text_is_kept_and_forgotten(orchestrator, tmp_path, monkeypatch, stream, is_sealed):
    monkeypatch.setenv(KEY_VARIABLE, make_key() if is_sealed else "")
    gateway = serve(orchestrator, tmp_path, record="texts")
    assert recording_kept(gateway.config).is_sealed is is_sealed
    ask(gateway, store=False)
    wanted = {"response_format": {"type": "text"}}
    reply = ask(gateway, stream=stream, user="somebody", **wanted)
    request_id = reply.headers["x-leeroo-request-id"] if stream else reply.json()["leeroo"]["request_id"]
    text = read_soon(tmp_path, request_id)
    assert text.prompt_messages == [{"role": "user", "content": f"What is {SECRET}?"}]
    assert text.answer_text.endswith("onetwothree" if stream else "says hello")
    assert text.response_format == wanted["response_format"]
    assert text.expert in NAMES
    assert text.user_hash is not None
    texts = tmp_path / "traffic" / "texts"
    assert TextStore(tmp_path).held().texts == 1, "store: false wins"
    assert [path.is_relative_to(texts) for path in holds(tmp_path)] == ([] if is_sealed else [True])
    carry_traffic(gateway.config)
    done = forget(tmp_path, Warehouse(tmp_path / "warehouse"), Selection(user_hash=text.user_hash))
    assert (done.requests, done.texts, done.removed.rows["traffic"]) == (1, 1, 1)
    assert holds(tmp_path) == holds(tmp_path, "says hello") == holds(tmp_path, "onetwothree") == []


def test_an_error_that_quotes_a_request_stands_in_no_log(orchestrator, tmp_path, caplog):
    quotes = Failure(FailureKind.BAD_REQUEST, f"cannot answer 'What is {SECRET}?'")
    breaks = Failure(FailureKind.SERVER_ERROR, f"trace: {SECRET}")
    account = Failure(FailureKind.CREDENTIALS, "the key ends in abc")
    experts = [ScriptedExpert(NAMES[0], quotes, breaks, account), ScriptedExpert(NAMES[1])]
    gateway = serve(orchestrator, tmp_path, *experts)
    with caplog.at_level(logging.DEBUG):
        told = [ask(gateway, model=NAMES[0]).text for _ in range(3)]
    assert SECRET in told[0], "its caller is told"
    assert "expert smollm2-135m failed: bad_request" in caplog.text
    assert "the key ends in abc" in caplog.text, "what concerns the operator is"
    ours = [
        record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "asyncio"))
    ]
    assert not any(SECRET in line for line in ours)
    assert holds(tmp_path) == []
