"""Clients that leave, upstreams that go too far, and attempts that the budget no longer covers."""

import asyncio
import gc
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from hostile_upstream import USD_PER_TOKEN, Plan
from test_money import WatchedLedger, finish, make_gateway, spec_of

from serve.http.described import complete
from serve.http.event_stream import EventStream
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import hash_secret
from serve.request.cost_bounds import asks_of
from serve.wire.api_errors import ApiError
from serve.wire.protocol import ChatRequest


@pytest.fixture
def run(upstream):
    """Run a scenario with a gateway and a caller; what it did is settled when it returns."""

    def run(scenario, *, budget_usd=1.0, **fields):
        async def go():
            gateway = make_gateway(upstream, **({"timeout_s": 20} | fields))
            keys = Ledger(gateway.config.home / LEDGER_FILE)
            _, secret = keys.create_key("ann", budget_usd=budget_usd)
            caller = await gateway.ledger.identify(hash_secret(secret))
            result = await scenario(gateway, caller)
            await finish(gateway)
            await asyncio.sleep(0.4)  # what the upstream still works on
            (key,) = keys.list_keys()
            assert key.reserved_usd == 0
            return gateway, key, result

        upstream.bills.clear()
        upstream.requests.clear()
        return asyncio.run(go())

    return run


def ask(name, *, stream=False, model="alpha", max_tokens=40):
    messages = [{"role": "user", "content": f"Say it. #{name}#"}]
    return ChatRequest(model=model, messages=messages, stream=stream, max_tokens=max_tokens)


async def leave_soon(work, upstream, wait_s=0.05):
    """Wait until the upstream works on it, and a while, and leave."""
    task = asyncio.ensure_future(work)
    while not upstream.requests:
        await asyncio.sleep(0.005)
    await asyncio.sleep(wait_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("on_leave", ["cancel", "finish"])
def test_a_whole_answer_whose_caller_left_is_charged(run, upstream, on_leave):
    upstream.plans["slow"] = Plan(words=20, pace_s=0.01)

    async def scenario(gateway, caller):
        await leave_soon(gateway.answer(ask("slow"), caller), upstream)

    gateway, key, _ = run(scenario, on_leave=on_leave)
    assert upstream.billed_usd > 0
    if on_leave == "finish":
        assert key.spent_usd == pytest.approx(upstream.billed_usd)
    else:
        assert upstream.billed_usd <= key.spent_usd <= max(gateway.ledger.reserved.values())


def test_nobody_else_is_asked_for_a_caller_who_left(run, upstream):
    upstream.plans["fails"] = Plan(words=5, pace_s=0.03, status=500, raw=b'{"error": {"message": "no"}}')

    async def scenario(gateway, caller):
        await leave_soon(gateway.answer(ask("fails", model="leeroo"), caller), upstream)

    _, key, _ = run(scenario, on_leave="finish")
    assert [request["model"] for request in upstream.requests] == ["alpha"]
    assert key.spent_usd >= upstream.billed_usd > 0


@pytest.mark.parametrize("reads", [1, 3, 10])
@pytest.mark.parametrize("pace_s", [0.0, 0.02])
def test_a_stream_that_is_left_is_cut_and_charged_for_what_was_made(run, upstream, reads, pace_s):
    upstream.plans["stream"] = Plan(words=40, pace_s=pace_s)

    async def scenario(gateway, caller):
        _, pieces = await gateway.stream(ask("stream", stream=True), caller)
        for _ in range(reads):
            await anext(pieces)
        await pieces.aclose()

    _, key, _ = run(scenario)
    (bill,) = upstream.bills
    if pace_s:
        assert bill.completion_tokens < 35, "it was not cut"
    assert upstream.billed_usd <= key.spent_usd <= upstream.billed_usd + 45 * USD_PER_TOKEN


def test_a_stream_that_nobody_ever_reads_is_closed(run, upstream):
    upstream.plans["unread"] = Plan(words=30, pace_s=0.01)

    async def scenario(gateway, caller):
        response = await complete(gateway, ask("unread", stream=True), caller)
        assert isinstance(response, EventStream)
        gone = asyncio.Event()
        gone.set()

        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            raise OSError("the client is gone")

        with pytest.raises(BaseException):  # noqa: B017, PT011
            await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
        assert gateway._in_flight == 0
        dropped = await gateway.stream(ask("unread", stream=True), caller)
        del dropped
        gc.collect()

    _, key, _ = run(scenario)
    assert key.spent_usd >= upstream.billed_usd > 0
    assert len(upstream.bills) == 2


def test_a_stream_opened_for_a_caller_who_has_just_left_is_closed(run, upstream):
    upstream.plans["late"] = Plan(words=30, pace_s=0.005)

    async def scenario(gateway, caller):
        for wait_s in (0.004, 0.006, 0.008, 0.01, 0.012, 0.015):
            await asyncio.sleep(0)
            task = asyncio.ensure_future(gateway.stream(ask("late", stream=True), caller))
            await asyncio.sleep(wait_s)
            task.cancel()
            try:
                _, pieces = await task
                await pieces.aclose()
            except asyncio.CancelledError:
                pass

    _, key, _ = run(scenario)
    assert key.spent_usd >= upstream.billed_usd


def test_a_further_attempt_that_the_budget_does_not_cover_is_not_made(run, upstream):
    upstream.plans["dies"] = Plan(words=30, status=500, raw=b'{"error": {"message": "after the work"}}')

    async def scenario(gateway, caller):
        with pytest.raises(ApiError) as refused:
            await gateway.answer(ask("dies", model="leeroo"), caller)
        return refused.value

    asked = ask("dies", model="leeroo").for_expert()
    bound_usd = asks_of([spec_of("alpha", upstream)], asked)["alpha"].most_usd
    _, key, refused = run(scenario, budget_usd=bound_usd + 20 * USD_PER_TOKEN)
    assert [request["model"] for request in upstream.requests] == ["alpha"]
    assert refused.status == 502
    assert key.spent_usd >= upstream.billed_usd
    upstream.requests.clear()
    _, key, _ = run(scenario, budget_usd=2 * bound_usd)
    assert [request["model"] for request in upstream.requests] == ["alpha", "beta"]
    assert key.spent_usd >= upstream.billed_usd


def test_a_stream_that_goes_past_its_tokens_is_cut_and_the_rest_disputed(run, upstream):
    piece = b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % (b"word " * 20)
    upstream.plans["endless"] = Plan(words=0, raw=tuple([piece, 0.001] * 200))

    async def scenario(gateway, caller):
        ends = []
        for _ in range(3):
            _, pieces = await gateway.stream(ask("endless", stream=True, max_tokens=10), caller)
            ends.append([piece async for piece in pieces][-1])
        return ends

    gateway, key, ends = run(scenario)
    assert [end["choices"][0]["finish_reason"] for end in ends] == ["length"] * 3
    assert all(settlement.disputed_usd > 0 for settlement in gateway.ledger.settled.values())
    assert key.spent_usd <= sum(gateway.ledger.reserved.values())
    assert gateway.breaker.resting(["alpha", "beta"], "anyone") == ("alpha",)


def test_an_absurd_claim_is_disputed_and_an_expert_that_makes_it_again_and_again_rests(run, upstream):
    upstream.plans["claims"] = Plan(words=5, usage={"prompt_tokens": 9, "completion_tokens": 10**9})

    async def scenario(gateway, caller):
        return [await gateway.answer(ask("claims"), caller) for _ in range(3)]

    gateway, key, answers = run(scenario)
    assert all(answer["leeroo"]["cost_usd"] < 100 * USD_PER_TOKEN for answer in answers)
    assert all(settlement.disputed_usd > 100 for settlement in gateway.ledger.settled.values())
    assert key.spent_usd < 300 * USD_PER_TOKEN
    assert gateway.breaker.resting(["alpha"], "anyone") == ("alpha",)


def test_stopping_waits_for_the_books(run, upstream):
    upstream.plans["slow"] = Plan(words=20, pace_s=0.01)

    async def scenario(gateway, caller):
        waiting = asyncio.ensure_future(gateway.answer(ask("slow"), caller))
        while not upstream.requests:
            await asyncio.sleep(0.005)
        assert await gateway.drain(0.01) == 1
        with pytest.raises(ApiError) as refused:
            await waiting
        return refused.value

    gateway, key, refused = run(scenario)
    assert (refused.status, refused.code) == (503, "shutting_down")
    assert key.spent_usd >= upstream.billed_usd > 0
    assert isinstance(gateway.ledger, WatchedLedger)
