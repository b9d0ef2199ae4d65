"""The presets that the endpoint lists are those of the router in use, with what it promises of them."""

from dataclasses import asdict, replace

import pytest
from fake_experts import FixedRouter, LocalLedger, LocalRouter, ScriptedExpert
from fastapi.testclient import TestClient

from orchestrator import Orchestrator
from orchestrator.selection.presets import Preset
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.gateway import Gateway

NAMES = ("smollm2-135m", "gemma-3-270m")
SAID = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}]}


@pytest.fixture
def web(tmp_path):
    """Ask an endpoint with a router of its own, with or without a key."""

    def open_endpoint(router, *, access="open"):
        config = ServeConfig(home=tmp_path, access=access)
        experts = {name: ScriptedExpert(name) for name in NAMES}
        gateway = Gateway(config, router, LocalLedger(config), experts)
        return TestClient(create_api(gateway), base_url="http://127.0.0.1")

    return open_endpoint


def cards(client, **headers):
    return {card["id"]: card for card in client.get("/v1/models", headers=headers).json()["data"]}


def test_a_card_says_what_its_preset_is_expected_to_come_to(web, orchestrator):
    client = web(LocalRouter(orchestrator))
    found = cards(client)
    assert list(found) == [
        "leeroo",
        *(f"leeroo:{n}" for n in orchestrator.presets),
        "leeroo:ensemble",
        *NAMES,
    ]
    for name, preset in orchestrator.presets.items():
        promise = found[f"leeroo:{name}"]["leeroo"]
        assert promise == {"multiplier": preset.multiplier} | asdict(preset.expected)
        assert promise["cost_low_usd"] <= promise["cost_usd"] <= promise["cost_high_usd"]
        assert 0 <= promise["success_low"] <= promise["success"] <= promise["success_high"] <= 1
        assert client.get(f"/v1/models/leeroo:{name}").json() == found[f"leeroo:{name}"]
    assert all(found[name]["leeroo"] is None for name in ("leeroo", "leeroo:ensemble", *NAMES))


def test_presets_of_a_router_saved_without_promises_have_none(web, orchestrator, tmp_path):
    replace(orchestrator, presets={"quality": Preset(0.0), "night": Preset(7.5)}).save(tmp_path / "router")
    client = web(LocalRouter(Orchestrator.load(tmp_path / "router")))
    found = cards(client)
    assert "leeroo:economy" not in found
    assert {k: v for k, v in found["leeroo:night"]["leeroo"].items() if v is not None} == {"multiplier": 7.5}
    answer = client.post("/v1/chat/completions", json=SAID | {"model": "leeroo:night"})
    assert answer.status_code == 200
    assert client.post("/v1/route", json=SAID | {"preset": "night"}).json()["multiplier"] == 7.5


@pytest.mark.parametrize("model", ["leeroo:economy", "leeroo:ensemble:economy", "leeroo:\u0000'"])
def test_a_preset_that_the_router_lacks_is_refused_with_those_that_it_has(web, orchestrator, model):
    client = web(LocalRouter(replace(orchestrator, presets={"quality": Preset(0.0), "night": Preset(7.5)})))
    refused = client.post("/v1/chat/completions", json=SAID | {"model": model})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("unknown_preset", "model")
    assert "there are quality, night" in error["message"]
    routed = client.post("/v1/route", json=SAID | {"preset": "economy"})
    assert (routed.status_code, routed.json()["error"]["param"]) == (400, "preset")


def test_a_key_for_some_of_the_experts_is_promised_nothing_of_all(web, orchestrator, tmp_path):
    _, narrow = Ledger(tmp_path / LEDGER_FILE).create_key(
        "narrow", experts=["gemma-3-270m"], preset="balanced"
    )
    _, wide = Ledger(tmp_path / LEDGER_FILE).create_key("wide")
    client = web(LocalRouter(orchestrator), access="keys")
    promised = {
        name: cards(client, authorization=f"Bearer {secret}")["leeroo:economy"]["leeroo"]["cost_usd"]
        for name, secret in (("narrow", narrow), ("wide", wide))
    }
    assert promised == {"narrow": None, "wide": orchestrator.presets["economy"].expected.cost_usd}
    refused = client.post(
        "/v1/chat/completions",
        json=SAID | {"model": "leeroo:best"},
        headers={"authorization": f"Bearer {narrow}"},
    )
    assert refused.status_code == 400
    assert "there are quality, balanced, economy" in refused.json()["error"]["message"]


def test_a_router_that_decides_elsewhere_is_asked_for_its_presets(web):
    found = cards(web(FixedRouter(*NAMES)))
    assert [name for name in found if name.startswith("leeroo:")] == ["leeroo:quality", "leeroo:ensemble"]
