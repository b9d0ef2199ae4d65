import asyncio
import json
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import BROKEN, LocalLedger, LocalRouter, ScriptedExpert

from serve.app import build
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.traffic.carrying import carry_traffic
from serve.request.gateway import Gateway
from warehouse import InputError, Warehouse

BODY = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}]}
PAID_USD = 150 * 0.01e-6  # what the scripted answer of smollm2-135m costs


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / LEDGER_FILE)


@pytest.fixture
def gateway(orchestrator, tmp_path):
    def make(*experts, access="keys", **settings):
        config = ServeConfig(home=tmp_path, access=access, **settings)
        by_name = {e.spec.name: e for e in experts or (ScriptedExpert("smollm2-135m"),)}
        return Gateway(config, LocalRouter(orchestrator), LocalLedger(config), by_name)

    return make


def send(gateway, secret=None, path="/v1/chat/completions", body=BODY, headers=None, method="POST"):
    async def go():
        transport = httpx.ASGITransport(app=create_api(gateway), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
            headers_ = {"Authorization": f"Bearer {secret}"} if secret else {}
            return await web.request(method, path, json=body, headers=headers_ | (headers or {}))

    return asyncio.run(go())


def spending(ledger):
    return [(key.spent_usd, key.reserved_usd) for key in ledger.list_keys()]


def test_no_key_no_answer(gateway, ledger):
    expert = ScriptedExpert("smollm2-135m")
    endpoint = gateway(expert)
    _, secret = ledger.create_key("ann")
    for headers in (
        {},
        {"Authorization": f"Basic {secret}"},
        {"Authorization": "Bearer"},
        {"api-key": secret},
    ):
        reply = send(endpoint, headers=headers)
        assert reply.status_code == 401
        assert reply.json()["error"] | {"message": ""} == {
            "message": "",
            "type": "authentication_error",
            "param": None,
            "code": "invalid_api_key",
        }
    for path in ("/v1/models", "/v1/route", "/v1/feedback", "/v1/completions", "/v1//chat/completions"):
        assert send(endpoint, path=path).status_code == 401
    assert send(endpoint, "lk-wrong").status_code == 401
    assert expert.bodies == []
    assert send(endpoint, secret).status_code == 200


@pytest.mark.parametrize(
    "path", ["/V1/models", "//v1/models", "/./v1/models", "/v1%2fmodels", "/v1/models/../models"]
)
def test_no_other_spelling_of_a_path_gets_round_the_key(gateway, ledger, path):
    ledger.create_key("ann")
    assert send(gateway(), path=path, method="GET").status_code in {401, 404}


def test_large_bodies_without_a_key_are_refused_before_they_are_read(gateway, ledger):
    read = 0

    async def body():
        nonlocal read
        for _ in range(160):
            read += 65_536
            yield b"x" * 65_536

    async def go():
        transport = httpx.ASGITransport(app=create_api(gateway()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
            return await web.post("/v1/chat/completions", content=body())

    assert asyncio.run(go()).status_code == 401
    assert read <= 65_536


def test_many_messages_are_refused_quickly(gateway, ledger):
    _, secret = ledger.create_key("ann")
    many = {"messages": [{"role": "user", "content": "x"}] * 100_000}
    started = time.perf_counter()
    reply = send(gateway(max_body_bytes=20_000_000), secret, body=many)
    assert reply.status_code == 400
    assert send(gateway(), secret, body=many).status_code == 413
    assert time.perf_counter() - started < 5


def test_a_revoked_key_stops_working(gateway, ledger):
    endpoint = gateway()
    _, secret = ledger.create_key("ann")
    assert send(endpoint, secret).status_code == 200
    ledger.revoke_key("ann")
    assert send(endpoint, secret).status_code == 401


def test_open_and_auto_access(gateway, ledger):
    assert send(gateway(access="open"), "whatever").status_code == 200
    assert send(gateway(access="auto"), "whatever").status_code == 200
    assert send(gateway(access="auto", host="0.0.0.0")).status_code == 401
    _, secret = ledger.create_key("ann")
    assert send(gateway(access="auto")).status_code == 401
    ledger.revoke_key("ann")
    assert send(gateway(access="open"), secret).status_code == 401
    with pytest.raises(InputError, match="may not listen"):
        build({"access": "open", "host": "0.0.0.0"})


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_charged_and_a_failure_is_not(gateway, ledger, stream):
    _, secret = ledger.create_key("ann", budget_usd=1.0)
    reply = send(gateway(), secret, body=BODY | {"stream": stream})
    assert spending(ledger) == [(pytest.approx(PAID_USD), 0)]
    if not stream:
        assert reply.json()["leeroo"]["remaining_usd"] == pytest.approx(1 - PAID_USD)
        assert float(reply.headers["x-leeroo-remaining-usd"]) == pytest.approx(1, abs=1e-5)
    broken = ScriptedExpert("smollm2-135m", BROKEN)
    assert send(gateway(broken), secret, body=BODY | {"stream": stream}).status_code == 502
    assert spending(ledger) == [(pytest.approx(PAID_USD), 0)]


def test_a_stream_that_breaks_off_is_charged_for_what_came(gateway, ledger):
    _, secret = ledger.create_key("ann", budget_usd=1.0)
    send(gateway(ScriptedExpert("smollm2-135m", cut_after=2)), secret, body=BODY | {"stream": True})
    ((spent, reserved),) = spending(ledger)
    assert 0 < spent < PAID_USD
    assert reserved == 0


class SlowStream(ScriptedExpert):
    """Takes a while between its pieces."""

    async def _rest(self):
        async for piece in super()._rest():
            await asyncio.sleep(0.1)
            yield piece


class HaltingStream(ScriptedExpert):
    """Says two words and then nothing for a long time."""

    async def _rest(self):
        async for piece in super()._rest():
            if piece["choices"] and piece["choices"][0]["delta"].get("content") == "three":
                await asyncio.sleep(60)
            yield piece


def test_what_a_running_stream_may_cost_stays_reserved(gateway, ledger):
    expert = SlowStream("smollm2-135m")
    endpoint = gateway(expert, deadline_s=0.1)
    _, secret = ledger.create_key("ann", budget_usd=6e-6)

    async def go():
        transport = httpx.ASGITransport(app=create_api(endpoint))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:

            async def ask(after_s):
                await asyncio.sleep(after_s)
                body = BODY | {"stream": True, "max_tokens": 1}
                headers = {"Authorization": f"Bearer {secret}"}
                return (await web.post("/v1/chat/completions", json=body, headers=headers)).status_code

            return await asyncio.gather(ask(0), ask(0.3))

    assert asyncio.run(go()) == [200, 429]
    assert spending(ledger) == [(pytest.approx(PAID_USD), 0)]


def test_a_stream_that_takes_too_long_is_broken_off_and_charged(gateway, ledger):
    _, secret = ledger.create_key("ann", budget_usd=1.0)
    endpoint = gateway(HaltingStream("smollm2-135m"), longest_stream_s=1.5)
    reply = send(endpoint, secret, body=BODY | {"stream": True})
    events = [line for line in reply.text.splitlines() if line]
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "stream_cut"
    assert "two" in reply.text
    assert "three" not in reply.text
    ((spent, reserved),) = spending(ledger)
    assert 0 < spent < PAID_USD
    assert reserved == 0
    assert endpoint.breaker.out_of_service(endpoint.experts) == ()


def test_an_empty_budget_is_refused_as_openai_does(gateway, ledger):
    expert = ScriptedExpert("smollm2-135m")
    _, secret = ledger.create_key("ann", budget_usd=1e-7)
    reply = send(gateway(expert), secret)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "insufficient_quota")
    assert expert.bodies == []


def test_experts_that_the_budget_does_not_cover_are_left_out(gateway, ledger):
    smol, gemma = ScriptedExpert("smollm2-135m"), ScriptedExpert("gemma-3-270m")
    _, secret = ledger.create_key("ann", budget_usd=6e-6)
    reply = send(gateway(smol, gemma), secret, body=BODY | {"model": "leeroo:quality"})
    assert reply.headers["x-leeroo-expert"] == "smollm2-135m"


@pytest.mark.parametrize(
    ("path", "extra", "param"),
    [
        ("chat/completions", {"max_tokens": 100_000, "best_of": -1000}, "best_of"),
        ("chat/completions", {"max_tokens": 100_000, "best_of": 0.5}, "best_of"),
        ("chat/completions", {"best_of": -(10**30)}, "best_of"),
        ("chat/completions", {"best_of": "abc"}, "best_of"),
        ("chat/completions", {"prompt": "x"}, "prompt"),
        ("completions", {"max_tokens": 100_000, "max_completion_tokens": 1}, "max_completion_tokens"),
        ("completions", {"max_completion_tokens": "abc"}, "max_completion_tokens"),
        ("completions", {"messages": 5}, "messages"),
    ],
)
def test_no_field_of_a_request_lowers_what_is_reserved_for_it(gateway, ledger, path, extra, param):
    expert = ScriptedExpert("smollm2-135m")
    _, secret = ledger.create_key("poor", budget_usd=0.0)
    content = BODY if path == "chat/completions" else {"prompt": "2 + 2 ="}
    reply = send(gateway(expert), secret, f"/v1/{path}", content | extra)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert expert.bodies == []


def test_of_two_limits_on_an_answer_the_greater_is_reserved(gateway, ledger):
    expert = ScriptedExpert("smollm2-135m")
    _, secret = ledger.create_key("poor", budget_usd=5e-6)
    limits = {"max_completion_tokens": 1, "max_tokens": 2_000}
    assert send(gateway(expert), secret, body=BODY | {"max_tokens": 1}).status_code == 200
    reply = send(gateway(expert), secret, body=BODY | limits)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "insufficient_quota")
    assert len(expert.bodies) == 1


def test_a_rate_limit_tells_when_to_come_back(gateway, ledger):
    _, secret = ledger.create_key("ann", requests_per_minute=2)
    endpoint = gateway()
    replies = [send(endpoint, secret) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert 1 <= int(replies[2].headers["retry-after"]) <= 30


def test_deciding_counts_towards_a_rate_and_costs_nothing(gateway, ledger):
    _, secret = ledger.create_key("ann", requests_per_minute=2, budget_usd=0.0)
    endpoint = gateway()
    replies = [send(endpoint, secret, "/v1/route", {"query": "x"}) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert spending(ledger) == [(0, 0)]


PICTURE = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
SEEN = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, PICTURE]}]}


def test_a_picture_is_taken_for_a_whole_context_window(gateway, ledger):
    expert = ScriptedExpert("smollm2-135m")
    window_usd = expert.spec.context_tokens * 0.01e-6
    poor = ledger.create_key("poor", budget_usd=0.9 * window_usd)[1]
    rich = ledger.create_key("rich", budget_usd=1.1 * window_usd)[1]
    small = SEEN | {"max_tokens": 1}
    assert send(gateway(expert), poor, body=small).json()["error"]["code"] == "insufficient_quota"
    assert send(gateway(expert), rich, body=small).status_code == 200


def test_a_stream_about_a_picture_that_breaks_off_is_not_charged_for_the_pictures_bytes(gateway, ledger):
    _, secret = ledger.create_key("ann", budget_usd=1.0)
    data = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    body = {"messages": [{"role": "user", "content": [data]}], "model": "smollm2-135m", "stream": True}
    send(gateway(ScriptedExpert("smollm2-135m", cut_after=2)), secret, body=body)
    ((spent, _),) = spending(ledger)
    assert 1_000 < spent / 0.01e-6 < 1_500


def test_a_picture_for_an_expert_without_a_known_window_needs_a_key_without_a_budget(gateway, ledger):
    expert = ScriptedExpert("smollm2-135m")
    expert.spec = expert.spec.model_copy(update={"context_tokens": None})
    limited = ledger.create_key("limited", budget_usd=10.0)[1]
    unlimited = ledger.create_key("unlimited")[1]
    refused = send(gateway(expert), limited, body=SEEN)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unbounded_cost")
    assert "context_tokens" in refused.json()["error"]["message"]
    assert send(gateway(expert), limited).status_code == 200
    assert send(gateway(expert), unlimited, body=SEEN).status_code == 200
    assert len(expert.bodies) == 2


@pytest.mark.parametrize("field", ["tools", "functions", "response_format"])
def test_what_an_expert_reads_beside_the_messages_is_reserved_too(gateway, ledger, field):
    expert = ScriptedExpert("smollm2-135m")
    _, secret = ledger.create_key("ann", budget_usd=5e-6)
    long = {"name": "f", "description": "x" * 1_000}
    value = {"type": "json_schema", "json_schema": long} if field == "response_format" else [long]
    small = BODY | {"max_tokens": 1}
    assert send(gateway(expert), secret, body=small | {field: value}).status_code == 429
    assert send(gateway(expert), secret, body=small).status_code == 200


def test_a_key_sees_the_models_that_it_may_use(gateway, ledger):
    _, secret = ledger.create_key("narrow", experts=["gemma-3-270m"])
    endpoint = gateway(ScriptedExpert("smollm2-135m"), ScriptedExpert("gemma-3-270m"))
    listed = send(endpoint, secret, "/v1/models", method="GET").json()["data"]
    assert [card["id"] for card in listed][-2:] == ["leeroo:ensemble", "gemma-3-270m"]
    assert send(endpoint, secret, "/v1/models/gemma-3-270m", method="GET").json() == listed[-1]
    assert send(endpoint, secret, "/v1/models/smollm2-135m", method="GET").status_code == 404


def test_a_keys_policy_holds(gateway, ledger):
    smol, gemma = ScriptedExpert("smollm2-135m"), ScriptedExpert("gemma-3-270m")
    _, frugal = ledger.create_key("frugal", preset="economy")
    _, narrow = ledger.create_key("narrow", experts=["gemma-3-270m"], preset="quality")
    endpoint = gateway(smol, gemma)
    assert send(endpoint, frugal).headers["x-leeroo-expert"] == "smollm2-135m"
    assert send(endpoint, narrow).headers["x-leeroo-expert"] == "gemma-3-270m"
    assert send(endpoint, narrow, body=BODY | {"model": "smollm2-135m"}).status_code == 404
    assert send(endpoint, narrow, body=BODY | {"experts": ["smollm2-135m"]}).status_code == 400


def test_decisions_and_feedback_are_kept_for_training(gateway, ledger, tmp_path):
    _, secret = ledger.create_key("ann")
    _, other = ledger.create_key("bob")
    endpoint = gateway()
    request_id = send(endpoint, secret).headers["x-leeroo-request-id"]
    named = send(endpoint, secret, body=BODY | {"model": "smollm2-135m"}).headers["x-leeroo-request-id"]
    feedback = {"request_id": request_id, "score": 0.5}
    assert send(endpoint, other, "/v1/feedback", feedback).status_code == 404
    assert send(endpoint, secret, "/v1/feedback", feedback).json()["recorded"]
    assert carry_traffic(endpoint.config) == 2
    store = Warehouse(str(tmp_path / "warehouse"))
    by_id = {row["request_id"]: row for row in store.scan("traffic").to_pylist()}
    row = by_id[request_id]
    assert row["expert"] == "smollm2-135m"
    assert row["cost_usd"] == pytest.approx(PAID_USD)
    assert row["experts"] == ["smollm2-135m"]  # those that may answer, of those that the router knows
    assert by_id[named]["role"] == "named"
    scored = store.connect().sql("select request_id, feedback_score from decisions").fetchall()
    assert scored == [(request_id, 0.5)]


def test_a_challengers_decisions_are_kept_beside_and_not_followed(gateway, ledger, tmp_path, orchestrator):
    _, secret = ledger.create_key("ann")
    endpoint = gateway(ScriptedExpert("smollm2-135m"), ScriptedExpert("gemma-3-270m"))
    endpoint.router = LocalRouter(orchestrator, challenger=replace(orchestrator, multiplier=1e9))
    reply = send(endpoint, secret, body=BODY | {"multiplier": None})
    assert "shadow" not in reply.text
    assert carry_traffic(endpoint.config) == 2
    rows = Warehouse(str(tmp_path / "warehouse")).scan("traffic").sort_by("request_id").to_pylist()
    served, shadow = rows
    assert shadow["request_id"] == served["request_id"] + ":shadow"
    assert (served["router_version"], shadow["router_version"]) == ("v1", "v2")
    assert served["expert"] == reply.headers["x-leeroo-expert"]
    assert shadow["expert"] == "smollm2-135m"  # what is cheapest, at that price
    assert served["cost_usd"] > 0
    assert shadow["cost_usd"] is None
    assert (served["role"], shadow["role"]) == ("champion", "shadow")
    assert served["round"] == shadow["round"]


def test_secrets_stay_out_of_the_logs(gateway, ledger, caplog):
    _, secret = ledger.create_key("ann")
    with caplog.at_level(logging.DEBUG):
        send(gateway(ScriptedExpert("smollm2-135m", BROKEN)), secret)
        send(gateway(), "lk-a-wrong-one")
    assert "smollm2-135m failed: server_error" in caplog.text
    assert "engine dead" not in caplog.text  # what an API says may quote the request
    assert secret not in caplog.text
    assert "lk-a-wrong-one" not in caplog.text


def test_keys_on_the_command_line(tmp_path):
    from typer.testing import CliRunner

    from pipelines.cli import app

    run = CliRunner().invoke
    made = run(
        app, ["keys", "create", "ann", "--home", str(tmp_path), "--budget-usd", "2", "--period", "day"]
    )
    secret = made.output.split()[-1]
    assert secret.startswith("lk-")
    listed = run(app, ["keys", "list", "--home", str(tmp_path)], env={"COLUMNS": "200"}).output
    assert "ann" in listed
    assert secret not in listed
    assert "revoked" in run(app, ["keys", "revoke", "ann", "--home", str(tmp_path)]).output
    again = run(app, ["keys", "revoke", "ann", "--home", str(tmp_path)])
    assert isinstance(again.exception, InputError)
