"""An answer never waits for its settlement; a stop does, and a death charges within the reservation."""

import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import FixedRouter, LocalLedger
from hostile_upstream import USD_PER_TOKEN, Plan

from experts import ExpertSpec
from serve.config import ServeConfig
from serve.experts.direct import DirectClient
from serve.ledger.audit import check_books
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, hash_secret
from serve.request.gateway import Gateway
from serve.wire.api_errors import ApiError
from serve.wire.protocol import ChatRequest

STALL_S = 5.0
OWNER = "ingress-of-the-test"


class StallingLedger(LocalLedger):
    """Takes long to settle; reservations have this process for their owner."""

    stall_s = STALL_S
    settling = 0

    async def reserve(self, reservation):
        return await super().reserve(replace(reservation, owner=OWNER))

    async def settle(self, settlement):
        self.settling += 1
        await asyncio.sleep(self.stall_s)
        return await super().settle(settlement)


@pytest.fixture
def run(upstream):
    """Run a scenario with a gateway and a caller of it; return what it came to, and the ledger."""

    def run(scenario, **fields):
        async def go():
            config = ServeConfig(home=Path(tempfile.mkdtemp(prefix="leeroo-test-")), access="keys")
            price = {"usd_per_mtok_in": USD_PER_TOKEN * 1e6, "usd_per_mtok_out": USD_PER_TOKEN * 1e6}
            spec = ExpertSpec(
                name="alpha", backend="openai", model="m", base_url=upstream.url, price=price,
                context_tokens=8_000, **fields,
            )  # fmt: skip
            gateway = Gateway(
                config, FixedRouter("alpha"), StallingLedger(config), {"alpha": DirectClient(spec)}
            )
            keys = Ledger(config.home / LEDGER_FILE)
            gateway.ledger.stall_s = 0.0
            caller = await gateway.ledger.identify(hash_secret(keys.create_key("ann", budget_usd=1.0)[1]))
            try:
                warm, _ = keys.create_key("warm")
                await told_cost(gateway, Caller(warm), stream=False)  # certificates are read once
                await gateway.drain(5)
                gateway.ledger.stall_s, gateway.ledger.settling = STALL_S, 0
                return await scenario(gateway, caller, keys), keys
            finally:
                await gateway.experts["alpha"].aclose()

        return asyncio.run(go())

    return run


def ann(keys):
    return next(key for key in keys.list_keys() if key.name == "ann")


def asked(plan, *, stream=False):
    messages = [{"role": "user", "content": f"Say it. #{plan}#"}]
    return ChatRequest(model="leeroo", messages=messages, max_tokens=40, stream=stream)


async def told_cost(gateway, caller, *, stream):
    """Ask; return what the answer says that it cost."""
    if not stream:
        return (await gateway.answer(asked("plain"), caller))["leeroo"]["cost_usd"]
    _, pieces = await gateway.stream(asked("plain", stream=True), caller)
    return [piece async for piece in pieces if "leeroo" in piece][-1]["leeroo"]["cost_usd"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_ledger_that_stalls_delays_no_answer_and_a_drain_waits_for_it(run, stream):
    async def scenario(gateway, caller, keys):
        began = time.monotonic()
        costs = await asyncio.gather(*(told_cost(gateway, caller, stream=stream) for _ in range(12)))
        took_s = time.monotonic() - began
        before = ann(keys)
        assert gateway.background.count() >= 12  # what a stop of the whole endpoint looks at
        assert await gateway.drain(10) == 0
        return costs, took_s, before

    (costs, took_s, before), keys = run(scenario)
    assert took_s < STALL_S - 0.5
    assert min(costs) > 0
    assert (before.spent_usd, before.reserved_usd > 0) == (0.0, True)
    after = ann(keys)
    assert after.spent_usd == pytest.approx(sum(costs), abs=1e-12)
    assert after.reserved_usd == 0
    assert check_books(keys.place).faults == ()


def test_a_refusal_waits_for_no_settlement_either(run, upstream):
    upstream.plans["wrong"] = Plan(status=400, raw=b'{"error": {"message": "no"}}', bills=False)

    async def scenario(gateway, caller, keys):
        began = time.monotonic()
        for stream in (False, True):
            work = gateway.stream if stream else gateway.answer
            with pytest.raises(ApiError):
                await work(asked("wrong", stream=stream), caller)
        took_s = time.monotonic() - began
        await gateway.drain(10)
        return took_s

    took_s, keys = run(scenario)
    assert took_s < STALL_S - 0.5
    assert (ann(keys).spent_usd, ann(keys).reserved_usd) == (0.0, 0.0)


def test_a_stop_whose_time_is_over_cuts_requests_off_and_not_their_books(run, upstream):
    upstream.plans["slow"] = Plan(words=4, begin_s=20)

    async def scenario(gateway, caller, keys):
        cost = await told_cost(gateway, caller, stream=False)
        working = asyncio.create_task(gateway.answer(asked("slow"), caller))
        while len(upstream.requests) < 2:
            await asyncio.sleep(0.01)
        assert await gateway.drain(0.2) == 1
        with pytest.raises(ApiError):
            await working
        return cost

    upstream.requests.clear()
    cost, keys = run(scenario)
    key = ann(keys)
    assert key.reserved_usd == 0
    assert key.spent_usd > cost  # and the one cut off is charged by estimate
    assert check_books(keys.place).faults == ()


@pytest.mark.parametrize("stream", [False, True])
def test_a_death_between_answer_and_settlement_charges_within_the_reservation(run, stream):
    async def scenario(gateway, caller, keys):
        gateway.ledger.stall_s = 60.0
        cost = await told_cost(gateway, caller, stream=stream)
        await asyncio.sleep(0.05)
        assert gateway.ledger.settling == 1
        return cost  # the loop ends here, and the settlement with it

    cost, keys = run(scenario)
    before = ann(keys)
    assert before.reserved_usd > 0
    assert keys.bury(OWNER) == 1
    after = ann(keys)
    assert after.reserved_usd == 0
    assert cost <= after.spent_usd <= before.reserved_usd
    assert check_books(keys.place).faults == ()
