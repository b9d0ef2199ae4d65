"""A key that is restricted to some experts learns nothing of the others."""

import asyncio
import json

import httpx
import pytest
from fake_experts import BROKEN, TOO_LONG, LocalLedger, LocalRouter, ScriptedExpert

from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.gateway import Gateway

MINE, HIDDEN = "gemma-3-270m", "smollm2-135m"
SAID = {"messages": [{"role": "user", "content": "What is 3 + 21?"}]}


@pytest.fixture
def ask(orchestrator, tmp_path):
    def ask(path, body=None, *, script=()):
        config = ServeConfig(home=tmp_path, access="keys")
        experts = {MINE: ScriptedExpert(MINE, *script), HIDDEN: ScriptedExpert(HIDDEN)}
        gateway = Gateway(config, LocalRouter(orchestrator), LocalLedger(config), experts)
        keys = Ledger(tmp_path / LEDGER_FILE)
        name = f"k{len(keys.list_keys())}"
        _, secret = keys.create_key(name, experts=[MINE], budget_usd=1.0)

        async def go():
            transport = httpx.ASGITransport(app=create_api(gateway), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
                method = "GET" if body is None else "POST"
                return await web.request(
                    method, path, json=body, headers={"Authorization": f"Bearer {secret}"}
                )

        reply = asyncio.run(go())
        assert experts[HIDDEN].bodies == []
        return reply

    return ask


REQUESTS = {
    "routed": SAID,
    "streamed": SAID | {"stream": True},
    "named": SAID | {"model": MINE},
    "hidden by name": SAID | {"model": HIDDEN},
    "unknown": SAID | {"model": "nobody"},
    "unknown preset": SAID | {"model": "leeroo:best"},
    "hidden among experts": SAID | {"experts": ["nobody"]},
    "too dear": SAID | {"max_cost_usd": 1e-12},
    "hard to please": SAID | {"min_success": 1.0},
    "at a price": SAID | {"multiplier": 1e12},
}


@pytest.mark.parametrize("script", [(), (BROKEN,), (TOO_LONG,)])
@pytest.mark.parametrize("name", REQUESTS)
def test_no_answer_and_no_refusal_names_them(ask, name, script):
    reply = ask("/v1/chat/completions", REQUESTS[name], script=script)
    told = reply.text.replace(json.dumps(REQUESTS[name].get("model", "")), "").replace(f"'{HIDDEN}'", "", 1)
    assert HIDDEN not in told
    assert HIDDEN not in str(reply.headers)


@pytest.mark.parametrize(
    "body", [{"query": "x"}, {"query": "x", "multiplier": 1e12}, {"query": "x", "max_cost_usd": 1e-12}]
)
def test_no_decision_names_them(ask, body):
    reply = ask("/v1/route", body)
    assert HIDDEN not in reply.text
    if reply.status_code == 200:
        assert [forecast["expert"] for forecast in reply.json()["forecasts"]] == [MINE]


def test_one_that_is_hidden_looks_like_one_that_is_not_there(ask):
    replies = [ask("/v1/chat/completions", SAID | {"model": name}) for name in (HIDDEN, "nobody-there")]
    told = [
        reply.text.replace(name, "NAME")
        for reply, name in zip(replies, (HIDDEN, "nobody-there"), strict=True)
    ]
    assert replies[0].status_code == replies[1].status_code == 404
    assert told[0] == told[1]
    for wanted in (SAID | {"experts": [HIDDEN]}, {"query": "x", "experts": [HIDDEN]}):
        path = "/v1/route" if "query" in wanted else "/v1/chat/completions"
        hidden = ask(path, wanted)
        missing = ask(path, wanted | {"experts": ["nobody-there"]})
        assert hidden.text.replace(HIDDEN, "NAME") == missing.text.replace("nobody-there", "NAME")
    assert ask(f"/v1/models/{HIDDEN}").status_code == ask("/v1/models/nobody-there").status_code == 404
    assert HIDDEN not in ask("/v1/models").text
