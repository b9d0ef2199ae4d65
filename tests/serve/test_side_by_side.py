"""Where the time is short two experts work on one request: who, when, and what becomes of the loser."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from hostile_upstream import Plan
from test_ensemble import FAULTS, NAMES, request_for, run, votes  # noqa: F401 - a fixture
from test_falling_through import asked, text, whole
from test_money import spec_of

from serve.request.cost_bounds import asks_of
from serve.wire.api_errors import ApiError

SILENT = Plan(begin_s=3.0, says=text("A"))


def slow(seconds, letters="ABCD"):
    return {f"it@{n}": Plan(says=text(x), begin_s=seconds) for n, x in zip(NAMES, letters, strict=True)}


def order_of(upstream):
    """Who was asked, each with when it began."""
    return {bill.model: bill.began for bill in upstream.bills}


async def learn_how_long(gateway, caller, upstream):
    for name in NAMES:
        await gateway.answer(request_for(model=name), caller)
    upstream.bills.clear()
    upstream.requests.clear()


@pytest.mark.parametrize("stream", [False, True])
def test_two_that_would_be_late_in_turn_are_asked_at_once(run, upstream, stream):  # noqa: F811
    async def scenario(gateway, caller):
        await learn_how_long(gateway, caller, upstream)
        return await whole(gateway, caller, request_for(stream=stream, max_latency_s=0.65))

    _, _, answer = run(scenario, slow(0.4, "BBCD"))
    began = sorted(order_of(upstream).values())
    assert len(began) == len(asked(upstream)) == 2
    assert began[1] - began[0] < 0.2
    told = answer["leeroo"]
    assert told["latency_s"] < 0.65
    assert [one["agrees"] for one in told["asked"]] == [True, True]
    assert told["cost_usd"] == pytest.approx(upstream.billed_usd)


def test_with_time_for_both_they_are_asked_in_turn(run, upstream):  # noqa: F811
    async def scenario(gateway, caller):
        await learn_how_long(gateway, caller, upstream)
        return await gateway.answer(request_for(max_latency_s=4.0), caller)

    run(scenario, slow(0.2, "BBCD"))
    began = sorted(order_of(upstream).values())
    assert len(began) >= 2
    assert began[1] - began[0] >= 0.2


@pytest.mark.parametrize("model", ["leeroo", "leeroo:ensemble"])
def test_one_that_is_silent_gets_another_beside_it_and_is_paid_for(run, upstream, model):  # noqa: F811
    async def scenario(gateway, caller):
        return await gateway.answer(request_for(model=model, max_latency_s=0.8), caller)

    first = NAMES[0]
    _, key, answer = run(scenario, {f"it@{first}": SILENT} | votes(beta="B", gamma="B", delta="B"))
    told = answer["leeroo"]
    assert asked(upstream)[0] == first
    assert told["expert"] != first
    assert told["latency_s"] < 0.8
    began = order_of(upstream)
    assert 0.3 < min(at for name, at in began.items() if name != first) - began[first] < 0.7  # half-way
    tried = {one["expert"]: one for one in told["tried"]}
    assert tried[first]["cost_usd"] > 0
    assert key.spent_usd == pytest.approx(told["cost_usd"])
    assert key.spent_usd >= upstream.billed_usd


@pytest.mark.parametrize(
    "fields",
    [{}, {"max_latency_s": 3.0, "max_experts_asked": 1}, {"max_latency_s": 3.0, "experts": ["alpha"]}],
)
def test_nobody_is_asked_beside_where_no_time_is_named_or_one_is_to_be_asked(run, upstream, fields):  # noqa: F811
    async def scenario(gateway, caller):
        return await gateway.answer(request_for(model="leeroo", **fields), caller)

    run(scenario, slow(0.8))
    assert len(asked(upstream)) == 1


def test_an_answer_that_is_in_time_is_the_only_one(run, upstream):  # noqa: F811
    async def scenario(gateway, caller):
        return await gateway.answer(request_for(model="leeroo", max_latency_s=2.0), caller)

    _, key, answer = run(scenario, slow(0.3))
    assert len(asked(upstream)) == 1
    assert answer["leeroo"]["tried"] == []
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


def test_what_the_budget_does_not_cover_is_not_asked_beside(run, upstream):  # noqa: F811
    request = request_for(model="leeroo", max_latency_s=1.0)
    bound_usd = asks_of([spec_of("alpha", upstream)], request.for_expert())["alpha"].most_usd

    async def scenario(gateway, caller):
        return await gateway.answer(request, caller)

    _, key, answer = run(scenario, slow(0.7), budget_usd=1.5 * bound_usd)
    assert asked(upstream) == ["alpha"]
    assert answer["leeroo"]["expert"] == "alpha"
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


def test_an_answer_that_cannot_be_compared_is_not_lost(run, upstream, monkeypatch):  # noqa: F811
    def fail(*_):
        raise RecursionError

    monkeypatch.setattr("serve.request.asking.by_plan.comparable_key", fail)

    async def scenario(gateway, caller):
        return await gateway.answer(request_for(), caller)

    _, key, answer = run(scenario, votes(alpha="B", beta="B", gamma="B", delta="B"))
    assert answer["choices"][0]["message"]["content"] == "B"
    assert key.spent_usd == pytest.approx(upstream.billed_usd)


@pytest.mark.parametrize("on_leave", ["cancel", "finish"])
def test_a_client_that_leaves_two_at_work_pays_for_both(run, upstream, on_leave):  # noqa: F811
    async def scenario(gateway, caller):
        work = asyncio.ensure_future(gateway.answer(request_for(model="leeroo", max_latency_s=1.2), caller))
        while len(asked(upstream)) < 2:
            await asyncio.sleep(0.01)
        work.cancel()
        await asyncio.wait({work})
        await asyncio.sleep(0.8)

    _, key, _ = run(scenario, slow(0.9), on_leave=on_leave)
    assert asked(upstream) == ["alpha", "beta"]
    assert key.spent_usd >= upstream.billed_usd
    if on_leave == "cancel":
        assert key.spent_usd > 0


@given(
    cases=st.lists(
        st.tuples(
            st.tuples(*[st.sampled_from([*FAULTS, SILENT])] * 4),
            st.tuples(*[st.sampled_from([0.0, 0.0, 0.1, 0.25])] * 4),
            st.sampled_from(["leeroo", "leeroo:ensemble"]),
            st.sampled_from([0.2, 0.4]),
            st.sampled_from([None, None, 0.05, 0.2]),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_whatever_comes_of_them_nobody_is_asked_twice_and_the_books_hold(run, upstream, cases):  # noqa: F811
    plans = {
        f"c{number}@{name}": replace(plan, begin_s=max(plan.begin_s, begin_s))
        for number, (of_each, begins, *_) in enumerate(cases)
        for name, plan, begin_s in zip(NAMES, of_each, begins, strict=True)
    }

    async def scenario(gateway, caller):
        async def one(number, model, within_s, leaves_after_s):
            request = request_for(f"c{number}", model=model, max_latency_s=within_s)
            try:
                async with asyncio.timeout(leaves_after_s):
                    return await gateway.answer(request, caller)
            except (ApiError, TimeoutError) as error:
                return error

        return await asyncio.gather(*(one(number, *case[2:]) for number, case in enumerate(cases)))

    _, key, answers = run(scenario, plans)
    for number, (answer, case) in enumerate(zip(answers, cases, strict=True)):
        models = [request["model"] for request in upstream.requests if f"#c{number}#" in str(request)]
        assert len(models) == len(set(models))
        if isinstance(answer, dict):
            told = answer["leeroo"]
            named = {told["expert"], *(one["expert"] for one in told["tried"] + told.get("asked", []))}
            assert set(models) <= named  # nobody was asked of whom the reply does not tell
            assert told["latency_s"] < case[3] + 0.5
    assert key.spent_usd >= upstream.billed_usd - 1e-12
