"""Requests at one expert: never more at once than may be, and callers that wait take turns."""

import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experts import FixedRouter, LocalLedger
from hostile_upstream import USD_PER_TOKEN, Plan

from experts import ExpertSpec
from serve.config import ServeConfig
from serve.experts.deployments import called
from serve.experts.direct import DirectClient
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, hash_secret
from serve.request.gateway import Gateway
from serve.request.turns.lately import LATELY_S, Lately
from serve.request.turns.places import KEPT_S, QueueFullError, Turns
from serve.wire.api_errors import ApiError
from serve.wire.protocol import ChatRequest
from warehouse import InputError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def make_spec(**fields):
    price = {"usd_per_mtok_in": USD_PER_TOKEN * 1e6, "usd_per_mtok_out": USD_PER_TOKEN * 1e6}
    return ExpertSpec(**{"name": "alpha", "backend": "openai", "model": "alpha", "price": price} | fields)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "free", "free", "leave", "later"]), st.integers(0, 40)
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 5), st.integers(0, 6), st.booleans())
@settings(deadline=None, max_examples=300)
def test_whatever_callers_do_no_place_is_lost_and_none_is_given_twice(steps, places, most_waiting, one_each):
    async def go():
        clock = Clock()
        turns = Turns(places, most_waiting, clock, one_each=one_each)
        holding, waiting, refused = [], [], 0

        async def one(caller):
            nonlocal refused
            try:
                await turns.take(caller)
            except QueueFullError:
                refused += 1
            else:
                holding.append(caller)

        for what, n in steps:
            if what == "take":
                waiting.append(asyncio.create_task(one(f"c{n % 4}")))
            elif what == "free" and holding:
                turns.free(holding.pop(n % len(holding)))
            elif what == "leave" and waiting:
                waiting[n % len(waiting)].cancel()
            elif what == "later":
                clock.now += n / 10
            if n % 3:  # else several things happen in one turn of the loop
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert len(holding) <= turns.at_once <= places
            assert turns.waiting <= most_waiting
        for _ in range(len(steps) + 1):
            clock.now += 100
            turns._look_again()  # the clock here moves without the event loop's timer
            await asyncio.sleep(0)
            if holding:
                turns.free(holding.pop())
        await asyncio.gather(*waiting, return_exceptions=True)
        while holding:
            turns.free(holding.pop())
        assert (turns.at_once, turns.waiting) == (0, 0)

    asyncio.run(go())


@given(st.integers(2, 6), st.integers(1, 30), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_beside_others_each_holds_one_place_and_alone_all(places, crowd, others):
    async def go():
        clock = Clock()
        turns = Turns(places, 100, clock, one_each=True)
        names = [f"one {n}" for n in range(min(others, places - 1))]
        for name in names:  # who was answered a moment ago
            await turns.take(name)
            turns.free(name)
        many = [asyncio.create_task(turns.take("many")) for _ in range(crowd)]
        await asyncio.sleep(0)
        assert turns.at_once == 1
        for name in names:
            assert turns.take_free(name)  # nobody stands in their way, and the crowd gets no more meanwhile
        assert turns.at_once == 1 + len(names)
        for name in names:
            turns.free(name)
        clock.now += KEPT_S + 1  # they are gone
        turns.free("many")
        await asyncio.sleep(0)
        assert turns.at_once == min(places, crowd - 1)
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)

    asyncio.run(go())


@given(
    st.integers(2, 6),
    st.integers(2, 30),
    st.lists(st.tuples(st.floats(0.0, 0.012), st.booleans()), min_size=1, max_size=30),
)
@settings(deadline=None, max_examples=100)
def test_a_crowd_waits_for_the_request_of_a_caller_with_one_but_never_for_long(places, crowd, visits):
    async def go():
        clock = Clock()
        turns = Turns(places, 100, clock, one_each=True)
        let_in = []  # when the crowd's were
        beside_at = -1.0  # when a request of the other was let in that is not answered

        async def one():
            await turns.take("many")
            assert not let_in or beside_at < 0 or clock.now >= min(let_in[-1], beside_at) + LATELY_S - 1e-9
            let_in.append(clock.now)

        async def go_on(seconds):
            for _ in range(8):  # the crowd's requests are decided at once, and not answered
                await asyncio.sleep(0)
                while turns.at_once > (beside_at >= 0):
                    turns.free("many")
                    await asyncio.sleep(0)
            clock.now += seconds
            turns._look_again()  # the clock here moves without the event loop's timer

        await turns.take("one")  # the crowd is not alone
        turns.free("one")
        turns.finish("one")
        many = [asyncio.create_task(one()) for _ in range(crowd)]
        await go_on(0.0)
        for wait_s, is_slow in visits:
            assert turns.take_free("one")  # a place is kept
            beside_at = clock.now
            before = len(let_in)
            await go_on(wait_s)
            if is_slow:
                await go_on(2 * LATELY_S)
                await go_on(0.0)
                assert len(let_in) > before or len(let_in) == crowd  # the crowd is not stopped
            turns.free("one")
            turns.finish("one")
            beside_at = -1.0
            await go_on(0.001)
            await go_on(0.001)
            assert len(let_in) > before or len(let_in) == crowd
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)

    asyncio.run(go())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0.0, 0.02), st.booleans()), max_size=20))
@settings(deadline=None, max_examples=100)
def test_nobody_looks_again_for_what_is_past(visits):
    clock = Clock()
    lately = Lately(clock)
    for caller, wait_s, is_answered in visits:
        lately.let_in(caller)
        if is_answered:
            assert lately.finish(caller)
        clock.now += wait_s
        end = lately.ends_at()
        assert end is None or clock.now <= end + 1e-9
        assert end is None or end <= clock.now + LATELY_S
    clock.now += 2 * LATELY_S
    assert lately.ends_at() is None


def test_where_the_queue_is_full_who_has_most_in_it_gives_way():
    async def go():
        turns = Turns(1, 4)
        await turns.take("many")
        many = [asyncio.create_task(turns.take("many")) for _ in range(4)]
        await asyncio.sleep(0)
        few = [asyncio.create_task(turns.take("few")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await turns.take("few")  # as many as the other has
        await asyncio.sleep(0)
        told = [task.exception() if task.done() else None for task in (*many, *few)]
        assert [type(error) for error in told] == [type(None)] * 2 + [QueueFullError] * 2 + [type(None)] * 2
        order = []
        for task, name in (*((task, "many") for task in many[:2]), *((task, "few") for task in few)):
            task.add_done_callback(lambda _, name=name: order.append(name))
        turns.free("many")
        for name in ("many", "few", "many"):
            await asyncio.sleep(0.01)
            turns.free(name)
        await asyncio.sleep(0.01)
        assert order == ["many", "few", "many", "few"]

    asyncio.run(go())


@pytest.mark.parametrize("places", [4, 16])
def test_a_caller_with_a_hundred_clients_does_not_double_the_time_of_one_with_one(places):
    """All answers take the same time and begin together, which is the worst that can be."""
    answer_s = 0.05

    async def client(turns, name, took, until):
        while time.monotonic() < until:
            began = time.monotonic()
            await turns.take(name)
            await asyncio.sleep(answer_s)
            turns.free(name)
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.004)  # the way back and forth

    async def go(crowd):
        turns, alone, many = Turns(places), [], []
        until = time.monotonic() + 1.5
        await asyncio.gather(
            client(turns, "one", alone, until),
            *(client(turns, "many", many, until) for _ in range(crowd)),
        )
        return statistics.median(alone), len(many)

    quiet_s, _ = asyncio.run(go(0))
    crowded_s, served = asyncio.run(go(100))
    assert crowded_s < 1.5 * quiet_s
    assert served >= 0.6 * (places - 1) * 1.5 / (answer_s + 0.004)  # and the crowd is not held up for it


def test_ingresses_never_send_more_together_than_the_expert_takes():
    for at_once in range(1, 40):
        spec = make_spec(concurrency=at_once)
        for ingresses in range(1, 9):
            if at_once < ingresses:
                with pytest.raises(InputError, match="ingress_replicas"):
                    called(spec).share(spec, ingresses)
            else:
                share = called(spec).share(spec, ingresses)
                assert share >= 1
                assert at_once - ingresses < share * ingresses <= at_once


# The real gateway before a real upstream.


def make_gateway(upstream, ledger_type=LocalLedger, **fields):
    config = ServeConfig(home=Path(tempfile.mkdtemp(prefix="leeroo-test-")), access="keys", deadline_s=5.0)
    spec = make_spec(base_url=upstream.url, context_tokens=8_000, **fields)
    return Gateway(config, FixedRouter("alpha"), ledger_type(config), {"alpha": DirectClient(spec)})


async def caller_of(gateway, name):
    keys = Ledger(gateway.config.home / LEDGER_FILE)
    return await gateway.ledger.identify(hash_secret(keys.create_key(name, budget_usd=10.0)[1]))


def asking(gateway, caller, plan, *, stream=False):
    messages = [{"role": "user", "content": f"Say it. #{plan}#"}]
    request = ChatRequest(model="alpha", messages=messages, max_tokens=40, stream=stream)
    return asyncio.create_task(gateway.stream(request, caller) if stream else gateway.answer(request, caller))


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def key_of(gateway, name):
    keys = Ledger(gateway.config.home / LEDGER_FILE).list_keys()
    return next(key for key in keys if key.name == name)


@pytest.mark.parametrize("on_leave", ["cancel", "finish"])
def test_who_leaves_the_queue_frees_its_place_and_pays_nothing(upstream, on_leave):
    upstream.plans |= {"slow": Plan(words=4, begin_s=0.4), "quick": Plan(words=4)}

    async def go():
        gateway = make_gateway(upstream, concurrency=1, on_leave=on_leave)
        ann, bob = await caller_of(gateway, "ann"), await caller_of(gateway, "bob")
        upstream.requests.clear()
        working = asking(gateway, ann, "slow")
        await until(lambda: upstream.requests)
        waiting = [asking(gateway, bob, "quick", stream=stream) for stream in (False, True)]
        turns = gateway.one_expert.turns["alpha"]
        await until(lambda: turns.waiting == 2)
        for task in waiting:
            task.cancel()
        await until(lambda: turns.waiting == 0)
        await working
        await gateway.drain(5)
        await gateway.experts["alpha"].aclose()
        return gateway

    gateway = asyncio.run(go())
    assert len(upstream.requests) == 1
    bob = key_of(gateway, "bob")
    assert (bob.spent_usd, bob.reserved_usd, bob.disputed_usd) == (0.0, 0.0, 0.0)
    assert key_of(gateway, "ann").spent_usd > 0


@pytest.mark.parametrize("stream", [False, True])
def test_time_in_the_queue_is_part_of_the_deadline_and_says_nothing_of_the_expert(upstream, stream):
    upstream.plans |= {"long": Plan(words=4, begin_s=1.5), "quick": Plan(words=4)}

    async def go():
        gateway = make_gateway(upstream, concurrency=1)
        object.__setattr__(gateway.config, "deadline_s", 0.5)
        ann, bob = await caller_of(gateway, "ann"), await caller_of(gateway, "bob")
        turns = gateway.one_expert.turns["alpha"]
        await turns.take("somebody")
        tasks = [asking(gateway, bob, "quick", stream=stream) for _ in range(4)]
        began = time.monotonic()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        took_s = time.monotonic() - began
        turns.free("somebody")
        object.__setattr__(gateway.config, "deadline_s", 30.0)
        answered = await asking(gateway, ann, "quick")
        await gateway.drain(5)
        await gateway.experts["alpha"].aclose()
        return gateway, errors, took_s, answered

    gateway, errors, took_s, answered = asyncio.run(go())
    assert all(isinstance(error, ApiError) and error.status == 504 for error in errors), errors
    assert 0.4 < took_s < 5
    assert gateway.breaker.out_of_service(["alpha"]) == ()
    assert answered["leeroo"]["expert"] == "alpha"
    assert key_of(gateway, "bob").spent_usd == 0


def test_a_stream_holds_its_place_to_its_end_however_it_ends(upstream):
    upstream.plans |= {"paced": Plan(words=8, pace_s=0.03), "cut": Plan(words=6, breaks="within")}

    async def go():
        gateway = make_gateway(upstream, concurrency=2)
        ann = await caller_of(gateway, "ann")
        turns = gateway.one_expert.turns["alpha"]
        for plan, reads in (("paced", 99), ("paced", 1), ("cut", 99), ("paced", 0)):
            _, pieces = await asking(gateway, ann, plan, stream=True)
            assert turns.at_once == 1
            read = 0
            while read < reads and await anext(pieces, None) is not None:
                read += 1
            await pieces.aclose()
            await until(lambda: turns.at_once == 0)
        await gateway.drain(5)
        await gateway.experts["alpha"].aclose()
        return gateway

    assert key_of(asyncio.run(go()), "ann").reserved_usd == 0


def test_an_upstream_never_sees_more_at_once_than_it_takes(upstream):
    upstream.plans["brief"] = Plan(words=3, begin_s=0.03)

    async def go():
        gateway = make_gateway(upstream, concurrency=3)
        callers = [await caller_of(gateway, name) for name in ("ann", "bob")]
        turns, seen = gateway.one_expert.turns["alpha"], []

        async def watch():
            while True:
                seen.append(turns.at_once)
                await asyncio.sleep(0.003)

        async def client(n):
            answered = await asking(gateway, callers[n % 2], "brief", stream=n % 3 == 0)
            if isinstance(answered, tuple):
                async for _ in answered[1]:
                    pass

        watching = asyncio.create_task(watch())
        await asyncio.gather(*map(client, range(24)))
        watching.cancel()
        await gateway.drain(5)
        await gateway.experts["alpha"].aclose()
        return seen

    assert max(asyncio.run(asyncio.wait_for(go(), 30))) == 3


# The door.


class SlowLedger(LocalLedger):
    """Takes a while to reserve; notes for whom, in which order, and how many at once."""

    def __init__(self, config):
        super().__init__(config)
        self.order, self.at_once, self.most = [], 0, 0
        self.wait_s = 0.01

    async def reserve(self, reservation):
        self.order.append(reservation.caller.key_id)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.wait_s)
        self.at_once -= 1
        return await super().reserve(reservation)


def test_a_crowd_at_the_door_does_not_stand_before_another_key(upstream):
    async def go():
        gateway = make_gateway(upstream, SlowLedger, concurrency=200)
        many, one = await caller_of(gateway, "many"), await caller_of(gateway, "one")
        crowd = [asking(gateway, many, "plain") for _ in range(60)]
        await until(lambda: len(gateway.ledger.order) > 2)
        answered = await asking(gateway, one, "plain")
        place = gateway.ledger.order.index(one.key_id)
        await asyncio.gather(*crowd)
        await gateway.drain(5)
        await gateway.experts["alpha"].aclose()
        return gateway, answered, place

    gateway, answered, place = asyncio.run(go())
    assert answered["leeroo"]["cost_usd"] > 0
    assert place <= 9
    assert gateway.ledger.most <= 4
    assert len(gateway.ledger.order) == 61


def test_who_waited_long_at_the_door_goes_in_all_the_same(upstream, monkeypatch):
    monkeypatch.setattr("serve.request.gateway._DOOR_PATIENCE_S", 0.1)

    async def go():
        gateway = make_gateway(upstream, SlowLedger, concurrency=200)
        gateway.ledger.wait_s = 1.0
        caller = await caller_of(gateway, "many")
        began = time.monotonic()
        answers = await asyncio.gather(*(asking(gateway, caller, "plain") for _ in range(20)))
        took_s = time.monotonic() - began
        await gateway.drain(5)
        await gateway.experts["alpha"].aclose()
        return gateway, answers, took_s

    gateway, answers, took_s = asyncio.run(go())
    assert len(answers) == 20
    assert gateway.ledger.most > 4
    assert took_s < 3
    assert (gateway._door.at_once, gateway._door.waiting) == (0, 0)
    assert all(answer["leeroo"]["latency_s"] > 0.9 for answer in answers)  # the wait is part of it


def test_when_a_key_has_taken_all_places_others_find_a_few(upstream):
    gateway = make_gateway(upstream)
    object.__setattr__(gateway.config, "max_in_flight", 16)
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(gateway.admit(Caller("many")))
        with pytest.raises(ApiError, match="too many"):
            stack.enter_context(gateway.admit(Caller("many")))
        stack.enter_context(gateway.admit(Caller("one")))
        stack.enter_context(gateway.admit(Caller("two")))
        for name in ("one", "three", None):
            with pytest.raises(ApiError, match="too many"):
                stack.enter_context(gateway.admit(Caller(name)))
    assert gateway._in_flight == 0
    assert not gateway._in_flight_of
