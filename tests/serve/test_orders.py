"""Experts go out of service, come back and change in the catalogue while requests are served: none fails."""

import asyncio
import json
import sys
import threading
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import FixedRouter, LocalLedger
from hostile_upstream import Plan
from test_gateway import http
from test_money import finish

from experts import load_catalogue
from pipelines.cli import app
from serve.config import ServeConfig
from serve.config.orders import ORDERS_NAME, order_drain, order_reload, order_resume, read_orders
from serve.expert_clients import ExpertClients
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.candidates import service
from serve.request.gateway import Gateway
from serve.wire.api_errors import ApiError
from serve.wire.protocol import ChatRequest

PRICE = {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 1.0}
JSON = {"content-type": "application/json"}


def write_catalogue(path, upstream, **of_alpha):
    entries = [
        {"name": name, "backend": "openai", "model": name, "base_url": upstream.url, "price": PRICE}
        for name in ("alpha", "beta")
    ]
    entries[0] |= of_alpha
    path.write_text(yaml.safe_dump({"experts": entries}))


@pytest.fixture
def gateway(upstream, tmp_path):
    upstream.plans.clear()
    upstream.requests.clear()
    catalogue = tmp_path / "catalogue.yaml"
    write_catalogue(catalogue, upstream)
    config = ServeConfig(home=tmp_path, catalogue=catalogue, deadline_s=20)
    clients = ExpertClients(config, {})
    experts = {spec.name: clients.make(spec) for spec in load_catalogue(catalogue).experts}
    router, ledger = FixedRouter("alpha", "beta"), LocalLedger(config)
    return Gateway(config, router, ledger, experts, read_again=clients.read_again)


def request(stream=False, **fields):
    said = [{"role": "user", "content": "Say it. #slow#"}]
    return ChatRequest(**{"model": "leeroo", "messages": said, "max_tokens": 40, "stream": stream} | fields)


async def ask(gateway, caller, number=0):
    """Ask in one piece or in many; returns who answered and what it cost. Whatever fails is raised."""
    if number % 3:
        told = (await gateway.answer(request(), caller))["leeroo"]
    else:
        _, pieces = await gateway.stream(request(stream=True), caller)
        read = [piece async for piece in pieces]
        assert not any("error" in piece for piece in read), read
        told = read[-1]["leeroo"]
    assert not told["tried"], told
    return told["expert"], told["cost_usd"]


async def one_at_a_time(gateway, caller, until, answered):
    while not until.is_set():
        answered.append(await ask(gateway, caller, len(answered)))


async def a_little(answered, upstream):
    """Wait until more requests have begun and ended than were under way."""
    goal = len(answered) + 24
    async with asyncio.timeout(20):
        while len(answered) < goal:
            await asyncio.sleep(0.01)


def test_no_request_fails_while_experts_drain_and_the_catalogue_changes(
    gateway, upstream, tmp_path, monkeypatch
):
    monkeypatch.setattr(service, "LOOK_EVERY_S", 0.02)
    upstream.plans["slow"] = Plan(words=5, pace_s=0.004)
    catalogue = gateway.config.catalogue

    async def run():
        caller = await gateway.ledger.identify(None)
        until, answered = asyncio.Event(), []
        callers = [asyncio.create_task(one_at_a_time(gateway, caller, until, answered)) for _ in range(8)]
        seen = {}

        async def after(name):
            await a_little(answered, upstream)  # those under way when it was ordered are over
            start = len(answered)
            await a_little(answered, upstream)
            seen[name] = answered[start:]

        await after("at first")
        order_drain(tmp_path, "alpha")
        await after("alpha drained")
        assert (await gateway.expert_states())["alpha"] == "drained"
        order_resume(tmp_path, "alpha")
        await after("alpha resumed")
        write_catalogue(catalogue, upstream, price={"usd_per_mtok_in": 2.0, "usd_per_mtok_out": 2.0})
        order_reload(tmp_path)
        await after("alpha dearer")
        catalogue.write_text("experts: [{name: alpha")
        order_reload(tmp_path)
        await after("catalogue broken")
        write_catalogue(catalogue, upstream, capabilities={"languages": ["zh"]}, model="other", concurrency=3)
        order_reload(tmp_path)
        await after("alpha another model")
        until.set()
        await asyncio.gather(*callers)
        await finish(gateway)
        return seen, len(answered)

    seen, answered = asyncio.run(run())
    assert answered > 250
    experts = {name: {expert for expert, _ in told} for name, told in seen.items()}
    assert experts == {
        "at first": {"alpha"},
        "alpha drained": {"beta"},
        "alpha resumed": {"alpha"},
        "alpha dearer": {"alpha"},
        "catalogue broken": {"alpha"},
        "alpha another model": {"alpha"},
    }
    costs = {name: {cost for _, cost in told} for name, told in seen.items()}
    assert max(costs["alpha dearer"]) == pytest.approx(2 * max(costs["at first"]))
    assert costs["catalogue broken"] == costs["alpha dearer"]
    assert upstream.requests[-1]["model"] == "other"
    (key,) = Ledger(tmp_path / LEDGER_FILE).list_keys() or (None,)
    assert key is None or key.reserved_usd == 0


def test_who_names_a_drained_expert_is_told_to_come_back(gateway, tmp_path):
    order_drain(tmp_path, "alpha")
    gateway.service.look_now()

    async def run():
        caller = await gateway.ledger.identify(None)
        with pytest.raises(ApiError) as refused:
            await gateway.answer(request(model="alpha"), caller)
        order_drain(tmp_path, "beta")
        gateway.service.look_now()
        with pytest.raises(ApiError) as nobody:
            await gateway.answer(request(), caller)
        return refused.value, nobody.value

    for error in asyncio.run(run()):
        assert (error.status, error.code) == (503, "unavailable")
        assert "maintenance" in str(error)
        assert error.retry_after_s


def test_an_operator_orders_over_http(gateway, upstream, tmp_path):
    keys = Ledger(gateway.config.home / LEDGER_FILE)
    _, operator = keys.create_key("ops", operator=True)
    _, other = keys.create_key("ann")

    async def run():
        async with http(gateway) as web:

            async def order(secret, **order):
                headers = JSON | {"authorization": f"Bearer {secret}"}
                return await web.post("/v1/operate", content=json.dumps(order), headers=headers)

            assert (await order(other, action="drain", expert="alpha")).status_code == 403
            assert read_orders(tmp_path).drained == frozenset()
            drained = await order(operator, action="drain", expert="alpha")
            assert drained.json()["experts"] == {"alpha": "drained", "beta": "ok"}
            assert (await web.get("/readyz")).json()["experts"]["alpha"] == "drained"
            assert (await order(operator, action="drain", expert="nobody")).status_code == 404
            assert (await order(operator, action="reload", expert="alpha")).status_code == 400
            resumed = await order(operator, action="resume", expert="alpha")
            assert resumed.json()["experts"]["alpha"] == "ok"
            gateway.config.catalogue.write_text("experts: []")
            broken = await order(operator, action="reload")
            assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_catalogue")
            write_catalogue(gateway.config.catalogue, upstream, timeout_s=7)
            assert (await order(operator, action="reload")).status_code == 200
            return gateway.experts["alpha"].spec.timeout_s

    assert asyncio.run(run()) == 7


def test_the_commands_write_the_orders(gateway, tmp_path):
    def leeroo(*words):
        return CliRunner().invoke(app, ["experts", *words, "--home", str(tmp_path)])

    catalogue = ["--catalogue", str(gateway.config.catalogue)]
    assert leeroo("drain", "alpha", *catalogue).exit_code == 0
    assert leeroo("reload", *catalogue).exit_code == 0
    assert read_orders(tmp_path).drained == {"alpha"}
    assert read_orders(tmp_path).reloads == 1
    assert leeroo("drain", "nobody", *catalogue).exit_code != 0
    assert leeroo("resume", "beta").exit_code != 0
    assert leeroo("resume", "alpha").exit_code == 0
    assert read_orders(tmp_path).drained == frozenset()
    (tmp_path / ORDERS_NAME).write_text("[]")
    assert leeroo("resume", "alpha").exit_code != 0


def test_damaged_orders_leave_those_that_hold(gateway, tmp_path):
    order_drain(tmp_path, "alpha")
    gateway.service.look_now()
    asyncio.run(gateway.follow_orders())
    (tmp_path / ORDERS_NAME).write_text("{")
    gateway.service.look_now()
    asyncio.run(gateway.follow_orders())
    assert gateway.service.drained == {"alpha"}


SAID = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/route": {"query": "Hi"},
}


def test_a_closed_endpoint_refuses_in_each_apis_shape_and_finishes_what_it_began(gateway, upstream):
    """Requests under way end as they would have; whoever comes gets 503 with Retry-After, until it opens."""
    upstream.plans["slow"] = Plan(words=5, pace_s=0.05)

    async def run():
        caller = await gateway.ledger.identify(None)
        under_way = [asyncio.create_task(ask(gateway, caller, number)) for number in range(4)]
        while len(upstream.requests) < 4:
            await asyncio.sleep(0.005)
        async with http(gateway) as web:

            async def order(**order):
                return (await web.post("/v1/operate", json=order)).json()["ready"]

            assert not await order(action="close", retry_after_s=77)
            refused = {}
            for path, said in SAID.items():
                body = said if path == "/v1/route" else said | {"model": "leeroo"}
                refused[path] = await web.post(path, json=body)
            stream = {"model": "leeroo", "stream": True, **SAID["/v1/chat/completions"]}
            refused["stream"] = await web.post("/v1/chat/completions", json=stream)
            assert (await web.get("/readyz")).status_code == 503
            assert (await web.get("/healthz")).status_code == 200
            begun = len(upstream.requests)
            await asyncio.gather(*under_way)
            assert await order(action="open")
            again = await web.post("/v1/chat/completions", json=SAID["/v1/chat/completions"])
            bad = await web.post("/v1/operate", json={"action": "open", "retry_after_s": 5})
        await finish(gateway)
        return refused, begun, again.status_code, bad.status_code

    refused, begun, again, bad = asyncio.run(run())
    for path, reply in refused.items():
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "77"), path
        told = reply.json()
        assert "maintenance" in told["error"]["message"]
        assert (told.get("type") == "error") == path.startswith("/v1/messages")
    assert (begun, again, bad) == (4, 200, 400)


def test_a_closed_endpoint_stays_closed_through_a_restart_until_the_command_opens_it(gateway, tmp_path):
    def leeroo(*words):
        return CliRunner().invoke(app, ["maintenance", *words, "--home", str(tmp_path)]).exit_code

    assert leeroo("on", "--retry-after-s", "0") != 0
    assert leeroo("on") == 0
    order_drain(tmp_path, "alpha")
    again = service.Service(tmp_path, None)
    with pytest.raises(ApiError) as refused:
        again.refuse_if_closed()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 30.0)
    assert leeroo("off") == 0
    assert not service.Service(tmp_path, None).is_closed
    assert read_orders(tmp_path).drained == {"alpha"}


def test_who_comes_while_the_catalogue_is_read_waits_for_it(gateway, tmp_path):
    """Also who looks again at once, as the operator's order does that says how each expert is then."""
    begun, may_end = threading.Event(), threading.Event()

    def read_slowly(now):
        begun.set()
        assert may_end.wait(10)
        return {"beta": now["beta"]}

    async def run():
        gateway.service = service.Service(tmp_path, read_slowly)
        order_reload(tmp_path)
        gateway.service.look_now()
        first = asyncio.create_task(gateway.expert_states())
        await asyncio.to_thread(begun.wait, 10)
        gateway.service.look_now()
        second = asyncio.create_task(gateway.expert_states())
        await asyncio.sleep(0.05)
        assert not second.done()
        may_end.set()
        return await first, await second

    assert asyncio.run(run()) == ({"beta": "ok"}, {"beta": "ok"})
