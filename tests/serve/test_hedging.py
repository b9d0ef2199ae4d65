"""A second expert is asked beside a slow one: the first usable answer wins, and the books stay exact."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import FixedRouter, LocalLedger
from hostile_upstream import Plan
from test_knobs import Expert
from test_money import VISITS, check_books_of, finish, make_gateway
from test_orders import request

from experts.catalogue.hedge import Hedge
from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import hash_secret
from serve.request.asking.latencies import LEAST_RECENT, RECENT, Latencies
from serve.request.cost_bounds import asks_of
from serve.request.gateway import Gateway

SLOW_S = 4.0  # longer than any answer of the other takes, and within the time of a request


async def ask(gateway, caller, stream, **fields):
    said = request(stream=stream, **fields)
    if not stream:
        return (await gateway.answer(said, caller))["leeroo"]
    _, pieces = await gateway.stream(said, caller)
    read = [piece async for piece in pieces]
    assert not any("error" in piece for piece in read), read
    return read[-1]["leeroo"]


async def as_ann(gateway, budget_usd=1.0):
    _, secret = Ledger(gateway.config.home / LEDGER_FILE).create_key("ann", budget_usd=budget_usd)
    return await gateway.ledger.identify(hash_secret(secret))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("hedge", [Hedge(), Hedge(after_s=0.05)], ids=["off", "on"])
def test_who_is_slow_is_overtaken_by_the_next_and_both_are_paid(upstream, stream, hedge):
    upstream.plans.clear()
    upstream.bills.clear()
    upstream.plans["slow@alpha"] = Plan(begin_s=SLOW_S if hedge.is_on else 0.2)

    async def run():
        gateway = make_gateway(upstream, hedge=hedge, timeout_s=5)
        caller = await as_ann(gateway)
        told = await ask(gateway, caller, stream)
        named = await ask(gateway, caller, stream, model="beta")
        await finish(gateway)
        return gateway, told, named

    gateway, told, named = asyncio.run(run())
    (key,) = Ledger(gateway.config.home / LEDGER_FILE).list_keys()
    assert key.reserved_usd == 0
    assert key.spent_usd == pytest.approx(told["cost_usd"] + named["cost_usd"])
    assert key.spent_usd >= upstream.billed_usd - 1e-12
    assert not named["tried"]  # nobody else may answer
    if not hedge.is_on:
        assert (told["expert"], told["tried"]) == ("alpha", [])
        return
    assert told["expert"] == "beta"
    (loser,) = told["tried"]
    assert (loser["expert"], loser["message"]) == ("alpha", "another answered before it")
    assert loser["cost_usd"] > 0
    assert told["cost_usd"] == pytest.approx(loser["cost_usd"] + told["expert_cost_usd"])
    assert gateway.breaker.resting(["alpha"], caller=key.key_id) == ()  # it was slow, and did not fail


@pytest.mark.parametrize("stream", [True, False])
def test_the_slow_one_wins_where_the_other_fails(upstream, stream):
    upstream.plans.clear()
    upstream.plans["slow@alpha"] = Plan(begin_s=0.3)
    upstream.plans["slow@beta"] = Plan(status=503)

    async def run():
        gateway = make_gateway(upstream, hedge=Hedge(after_s=0.05), timeout_s=5)
        told = await ask(gateway, await as_ann(gateway), stream)
        await finish(gateway)
        return told

    told = asyncio.run(run())
    assert (told["expert"], [one["expert"] for one in told["tried"]]) == ("alpha", ["beta"])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("covers", "fields"),
    [(1.5, {}), (3.0, {"max_experts_asked": 1}), (3.0, {"model": "alpha"}), (3.0, {"experts": ["alpha"]})],
    ids=["one is covered", "one may answer", "one is named", "one is allowed"],
)
def test_nobody_is_asked_beside_where_one_alone_is_covered_or_wanted(upstream, stream, covers, fields):
    upstream.plans.clear()
    upstream.bills.clear()
    upstream.plans["slow@alpha"] = Plan(begin_s=0.3)

    async def run():
        gateway = make_gateway(upstream, hedge=Hedge(after_s=0.05), timeout_s=5)
        body = request().for_expert()
        most_usd = asks_of([gateway.experts["alpha"].spec], body)["alpha"].most_usd
        told = await ask(gateway, await as_ann(gateway, covers * most_usd), stream, **fields)
        await finish(gateway)
        return told

    told = asyncio.run(run())
    assert (told["expert"], told["tried"]) == ("alpha", [])
    assert len(upstream.bills) == 1


@given(visits=st.lists(VISITS, min_size=1, max_size=10), seed=st.integers(0, 10**6), stumbles=st.booleans())
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_books_hold_whatever_happens_to_hedged_requests(upstream, visits, seed, stumbles):
    check_books_of(upstream, visits, seed, stumbles, hedge=Hedge(after_s=0.003))


@given(
    took=st.lists(st.floats(0, 100), max_size=2 * RECENT),
    percentile=st.floats(50, 99.9),
    is_stream=st.booleans(),
)
def test_a_percentile_is_that_of_the_latest_answers_of_its_kind(took, percentile, is_stream):
    latencies = Latencies()
    for one in took:
        latencies.note_recent("a", one, is_stream=is_stream)
        latencies.note_recent("b", 1e6, is_stream=is_stream)
    found = latencies.percentile_s("a", percentile, is_stream)
    assert latencies.percentile_s("a", percentile, not is_stream) is None
    if len(took) < LEAST_RECENT:
        assert found is None
    else:
        assert found == pytest.approx(np.percentile(took[-RECENT:], percentile))


@pytest.mark.parametrize("stream", [True, False])
def test_an_expert_is_overtaken_after_its_own_percentile_and_not_before_it_has_one(upstream, stream):
    upstream.plans.clear()
    upstream.bills.clear()

    async def run():
        gateway = make_gateway(upstream, hedge=Hedge(percentile=95), timeout_s=5)
        caller = await as_ann(gateway)
        usual = [await ask(gateway, caller, stream) for _ in range(LEAST_RECENT)]
        upstream.plans["slow@alpha"] = Plan(begin_s=SLOW_S)
        slow = await ask(gateway, caller, stream)
        await finish(gateway)
        return usual, slow

    usual, slow = asyncio.run(run())
    assert {told["expert"] for told in usual} == {"alpha"}
    assert slow["expert"] == "beta"


class Together(Expert):
    """Begins its stream when it is told to, and knows whether that was closed."""

    def __init__(self, name, begin, asked):
        super().__init__(name, [], hedge=Hedge(after_s=0.01))
        self.begin, self.asked, self.closed = begin, asked, False

    async def open_stream(self, ask, timeout_s):
        self.asked.append(self.spec.name)
        await self.begin.wait()
        return await super().open_stream(ask, timeout_s)

    async def _rest(self):
        try:
            async for piece in super()._rest():
                yield piece
        finally:
            self.closed = True


def test_of_two_streams_that_begin_at_once_one_is_closed_and_both_are_paid(tmp_path):
    config = ServeConfig(home=tmp_path, access="keys")
    _, secret = Ledger(tmp_path / LEDGER_FILE).create_key("ann", budget_usd=1.0)

    async def run():
        begin, asked = asyncio.Event(), []
        experts = {name: Together(name, begin, asked) for name in ("alpha", "beta")}
        gateway = Gateway(config, FixedRouter("alpha", "beta"), LocalLedger(config), experts)
        caller = await gateway.ledger.identify(hash_secret(secret))
        asking = asyncio.create_task(ask(gateway, caller, True))
        while len(asked) < 2:
            await asyncio.sleep(0.001)
        begin.set()
        told = await asking
        await gateway.drain(5.0)
        return told, {name: expert.closed for name, expert in experts.items()}

    told, closed = asyncio.run(run())
    assert told["expert"] == "alpha"
    (loser,) = told["tried"]
    assert loser["expert"] == "beta"
    assert loser["cost_usd"] > 0
    assert closed == {"alpha": True, "beta": True}
    (key,) = Ledger(tmp_path / LEDGER_FILE).list_keys()
    assert (key.reserved_usd, key.spent_usd) == (0, pytest.approx(told["cost_usd"]))
