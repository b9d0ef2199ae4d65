"""What a catalogue entry says of time and attempts: retries, and the time to the first token of a stream."""

import asyncio
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import FixedRouter, LocalLedger, ScriptedExpert
from hostile_upstream import Plan
from test_money import make_gateway
from test_orders import request

from experts.catalogue.retries import Retries
from experts.upstream import Failure, FailureKind
from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import hash_secret
from serve.request.asking import retrying
from serve.request.gateway import Gateway

CLASSES = {
    "overloaded": FailureKind.BUSY,
    "unreachable": FailureKind.UNREACHABLE,
    "server_error": FailureKind.SERVER_ERROR,
    "timeout": FailureKind.BROKEN_CONNECTION,
}
TOOL = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(retrying, "retry_wait_s", lambda *_: 0.001)


class Expert(ScriptedExpert):
    def __init__(self, name, script, **fields):
        super().__init__("smollm2-135m", *script)
        self.spec = self.spec.model_copy(update={"name": name, "backend": "openai", "model": name, **fields})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(st.sampled_from(list(CLASSES)), max_size=5),
    counts=st.fixed_dictionaries({name: st.integers(0, 3) for name in CLASSES}),
    bills=st.sampled_from(["no", "yes"]),
    stream=st.booleans(),
)
def test_an_expert_is_asked_again_as_often_as_it_says_and_never_after_what_may_be_billed(
    tmp_path_factory, script, counts, bills, stream
):
    failures = [Failure(CLASSES[name], "not now") for name in script]
    expected, left = 1, len(script)
    for attempt, (name, failure) in enumerate(zip(script, failures, strict=True)):
        may_be_billed = bills == "yes" and failure.consequence.may_be_billed
        if attempt >= counts[name] or may_be_billed:
            break
        expected, left = expected + 1, left - 1
    alpha = Expert("alpha", failures, retries=Retries(**counts), bills_failures=bills)
    beta = Expert("beta", [])
    config = ServeConfig(home=tmp_path_factory.mktemp("home"), access="keys")
    _, secret = Ledger(config.home / LEDGER_FILE).create_key("ann", budget_usd=1.0)

    async def run():
        gateway = Gateway(
            config, FixedRouter("alpha", "beta"), LocalLedger(config), {"alpha": alpha, "beta": beta}
        )
        caller = await gateway.ledger.identify(hash_secret(secret))
        if stream:
            _, pieces = await gateway.stream(request(stream=True), caller)
            told = [piece async for piece in pieces][-1]["leeroo"]
        else:
            told = (await gateway.answer(request(), caller))["leeroo"]
        await gateway.drain(10.0)
        return told

    told = asyncio.run(run())
    assert len(alpha.bodies) == expected
    assert told["expert"] == ("alpha" if left == 0 else "beta")
    assert [one["expert"] for one in told["tried"]] == ([] if left == 0 else ["alpha"])
    (key,) = Ledger(config.home / LEDGER_FILE).list_keys()
    assert key.reserved_usd == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_stream_that_shows_nothing_in_time_goes_to_the_next(upstream, stream):
    upstream.plans.clear()
    upstream.plans["slow"] = Plan(begin_s=0.0)
    upstream.plans["slow@alpha"] = Plan(begin_s=0.6)

    async def run(**fields):
        gateway = make_gateway(upstream, timeout_s=5, **fields)
        _, secret = Ledger(gateway.config.home / LEDGER_FILE).create_key("ann", budget_usd=1.0)
        caller = await gateway.ledger.identify(hash_secret(secret))
        said = request(stream=stream)
        if stream:
            _, pieces = await gateway.stream(said, caller)
            told = [piece async for piece in pieces][-1]["leeroo"]
        else:
            told = (await gateway.answer(said, caller))["leeroo"]
        named = None
        if stream:  # with nobody to go on to, there is no better than to wait
            _, pieces = await gateway.stream(request(stream=True, model="alpha"), caller)
            named = [piece async for piece in pieces][-1]["leeroo"]["expert"]
        await gateway.drain(10.0)
        return told, named

    told, named = asyncio.run(run(first_token_s=0.1))
    if not stream:
        assert (told["expert"], named) == ("alpha", None)
        return
    assert (told["expert"], named) == ("beta", "alpha")
    assert told["tried"][0]["kind"] in ("timeout", "stalled")
    assert "no token came" in told["tried"][0]["message"]


def test_a_tools_result_goes_to_the_expert_that_called_it(tmp_path):
    """Even where the router has changed its mind; not where that expert rests, and not for a new question."""
    alpha, beta = Expert("alpha", []), Expert("beta", [])
    config = ServeConfig(home=tmp_path)
    router = FixedRouter("alpha", "beta")
    question = {"role": "user", "content": "How far is it?"}
    call = {"role": "assistant", "content": "smollm2-135m says hello", "tool_calls": [TOOL]}

    async def run():
        gateway = Gateway(config, router, LocalLedger(config), {"alpha": alpha, "beta": beta})
        caller = await gateway.ledger.identify(None)

        async def ask(*messages):
            answer = await gateway.answer(request(messages=list(messages)), caller)
            return answer["leeroo"]["expert"], answer["leeroo"]["reason"]

        first, _ = await ask(question)
        call["content"] = f"{first} says hello"
        await gateway.drain(10.0)
        decide = router.decide

        async def prefers_beta(query):
            ruling = await decide(query)
            names = ruling.decision.expert, *ruling.decision.fallbacks
            from dataclasses import replace

            success = {name: 0.9 if name == "beta" else 0.1 for name in names}
            order = tuple(sorted(names, key=lambda name: -success[name]))
            decision = replace(ruling.decision, expert=order[0], fallbacks=order[1:], success=success)
            return replace(ruling, decision=decision)

        router.decide = prefers_beta
        result = {"role": "tool", "tool_call_id": "c", "content": "12 km"}
        told = [await ask(question, call, result)]
        told.append(await ask(question, call, {"role": "user", "content": "And by boat?"}))
        for _ in range(3):
            gateway.breaker.record("alpha", Failure(FailureKind.UNREACHABLE, "gone"), None)
        told.append(await ask(question, call, result))
        await gateway.drain(10.0)
        return first, told

    first, told = asyncio.run(run())
    assert first == "alpha"
    assert [expert for expert, _ in told] == ["alpha", "beta", "beta"]
    assert "tool" in told[0][1]
