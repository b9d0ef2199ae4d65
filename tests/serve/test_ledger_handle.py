"""The bookkeeper as an ingress reaches it: what travels together, and what comes before what."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import LocalRouter, ScriptedExpert

from serve.config import ServeConfig
from serve.ledger.audit import check_books
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.handle import BookkeeperHandle
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Heartbeat, Reservation, Settlement, hash_secret
from serve.request.gateway import Gateway
from serve.wire.feedback import FeedbackRequest
from serve.wire.protocol import ChatRequest

ASKED = [{"role": "user", "content": "What is the capital of Peru?"}]


@pytest.fixture
def run(orchestrator, tmp_path, monkeypatch):
    """Run a scenario with a gateway that has the real handle of a real bookkeeper, without Ray between."""

    def run(scenario, *, is_alone=True):
        async def go():
            config = ServeConfig(home=tmp_path, access="keys")
            bookkeeper, groups = Bookkeeper(config), []

            async def write(entries):
                groups.append([type(entry) for entry in entries if not isinstance(entry, Heartbeat)])
                await asyncio.sleep(0.001)
                return await bookkeeper.write(entries)

            def remote(method):
                return SimpleNamespace(remote=method)

            monkeypatch.setattr("serve.ledger.handle.local_caller", lambda _handle, _method: write)
            handle = SimpleNamespace(
                identify=remote(bookkeeper.identify), add_feedback=remote(bookkeeper.add_feedback)
            )
            ledger = BookkeeperHandle(handle, is_alone=is_alone)
            experts = {name: ScriptedExpert(name) for name in ("smollm2-135m", "gemma-3-270m")}
            gateway = Gateway(config, LocalRouter(orchestrator), ledger, experts)
            keys = Ledger(tmp_path / LEDGER_FILE)
            caller = await ledger.identify(hash_secret(keys.create_key("ann", budget_usd=1.0)[1]))
            told = await scenario(gateway, caller)
            assert await gateway.drain(5) == 0
            (key,) = keys.list_keys()
            assert key.reserved_usd == 0
            assert check_books(tmp_path / LEDGER_FILE).faults == ()
            return told, [group for group in groups if group], key

        return asyncio.run(go())

    return run


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_settlement_goes_with_the_next_reservation_and_before_it(run, is_alone):
    async def scenario(gateway, caller):
        costs = []
        for _ in range(12):
            answer = await gateway.answer(ChatRequest(model="smollm2-135m", messages=ASKED), caller)
            costs.append(answer["leeroo"]["cost_usd"])
            await asyncio.sleep(0 if is_alone else 0.005)
        return costs

    costs, groups, key = run(scenario, is_alone=is_alone)
    assert key.spent_usd == pytest.approx(sum(costs), abs=1e-12)
    assert min(costs) > 0
    together = [Settlement, Reservation]
    assert groups == (
        [[Reservation], *[together] * 11, [Settlement]]
        if is_alone
        else [[kind] for _ in range(12) for kind in (Reservation, Settlement)]
    )


@pytest.mark.parametrize("is_alone", [True, False])
def test_what_a_client_does_next_finds_its_answer_in_the_books(run, is_alone):
    async def scenario(gateway, caller):
        answer = await gateway.answer(ChatRequest(model="leeroo", messages=ASKED), caller)
        request_id = answer["leeroo"]["request_id"]
        await gateway.add_feedback(FeedbackRequest(request_id=request_id, score=1.0), caller)
        said = {"role": "assistant", "content": answer["choices"][0]["message"]["content"]}
        held = []
        reserve = gateway.ledger.reserve

        async def watch(reservation):
            reserved = await reserve(reservation)
            held.append(reserved.held_by)
            return reserved

        gateway.ledger.reserve = watch
        await gateway.answer(ChatRequest(model="leeroo", messages=[*ASKED, said, *ASKED]), caller)
        return held, answer["leeroo"]["expert"]

    (held, expert), _, _ = run(scenario, is_alone=is_alone)
    assert held == [expert]
