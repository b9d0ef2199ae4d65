"""A session stays with its expert while that expert can serve it; sessions of two keys never meet."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import FixedRouter, LocalLedger
from test_gateway import http
from test_knobs import Expert

from experts.upstream import Failure, FailureKind
from serve.config import ServeConfig
from serve.config.orders import order_drain, order_resume
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.gateway import Gateway
from warehouse import InputError

NAMES = ("alpha", "beta", "gamma")
JSON = {"content-type": "application/json"}
GONE = Failure(FailureKind.UNREACHABLE, "gone")


class FickleRouter(FixedRouter):
    """Prefers the expert that the test says, by far."""

    def __init__(self):
        super().__init__(*NAMES)
        self.prefers = "alpha"

    async def decide(self, query):
        self.order = (self.prefers, *(name for name in NAMES if name != self.prefers))
        ruling = await super().decide(query)
        success = {name: 0.99 if name == self.prefers else 0.01 for name in NAMES}
        return replace(ruling, decision=replace(ruling.decision, success=success))


def make(home, **fields):
    config = ServeConfig(home=home, access="keys", **fields)
    router = FickleRouter()
    gateway = Gateway(config, router, LocalLedger(config), {name: Expert(name, []) for name in NAMES})
    keys = Ledger(home / LEDGER_FILE)
    return gateway, router, {name: keys.create_key(name)[1] for name in ("ann", "bob")}


async def ask(web, gateway, secret, session=None, header="x-session-id", **fields):
    headers = JSON | {"authorization": f"Bearer {secret}"} | ({header: session} if session else {})
    said = {"model": "leeroo", "messages": [{"role": "user", "content": "Hello"}]} | fields
    reply = await web.post("/v1/chat/completions", json=said, headers=headers)
    assert reply.status_code == 200, reply.text
    await gateway.drain(5.0)
    return reply.headers["x-leeroo-expert"]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"), st.sampled_from(["ann", "bob"]), st.sampled_from([None, "s", "t"]), st.booleans()
        ),
        st.tuples(st.sampled_from(["prefer", "drain", "resume", "fail"]), st.sampled_from(NAMES)),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_session_stays_while_its_expert_can_serve_it_whatever_the_router_prefers(tmp_path_factory, steps):
    home = tmp_path_factory.mktemp("home")

    async def run():
        gateway, router, secrets = make(home)
        held, drained = {}, set()
        async with http(gateway) as web:
            for what, *of in steps:
                if what == "prefer":
                    (router.prefers,) = of
                elif what == "drain" and len(drained | {*of}) < len(NAMES):
                    drained |= {*of}
                    order_drain(home, of[0])
                elif what == "resume":
                    drained -= {*of}
                    order_resume(home, of[0])
                elif what == "fail":
                    for _ in range(3):
                        gateway.breaker.record(of[0], GONE, None)
                elif what == "ask":
                    key, session, stores = of
                    gateway.service.look_now()
                    served = [name for name in NAMES if name not in drained]
                    resting = set(gateway.breaker.resting(served, None))
                    awake = [name for name in served if name not in resting] or served
                    before = held.get((key, session)) if session else None
                    expert = await ask(web, gateway, secrets[key], session, store=stores)
                    if before in awake:
                        assert expert == before
                    elif router.prefers in awake:
                        assert expert == router.prefers
                    if session:
                        held[key, session] = expert

    asyncio.run(run())


@pytest.mark.parametrize("by_user", [True, False])
def test_a_user_is_a_session_only_where_the_operator_says_so_and_only_while_it_may_be_kept(tmp_path, by_user):
    async def run():
        gateway, router, secrets = make(tmp_path, session_by_user=by_user)
        async with http(gateway) as web:
            told = [await ask(web, gateway, secrets["ann"], user="eve")]
            await ask(web, gateway, secrets["ann"], user="zoe", store=False)
            router.prefers = "beta"
            told.append(await ask(web, gateway, secrets["ann"], user="eve"))
            told.append(await ask(web, gateway, secrets["ann"], user="zoe"))
            told.append(await ask(web, gateway, secrets["bob"], user="eve"))
            told.append(await ask(web, gateway, secrets["ann"], session="eve", user="eve"))
        return told

    assert asyncio.run(run()) == ["alpha", "alpha" if by_user else "beta", "beta", "beta", "beta"]


def test_the_operator_names_the_header_or_none(tmp_path):
    async def run(name, sent):
        home = tmp_path / f"{name}-{sent}"
        home.mkdir()
        gateway, router, secrets = make(home, session_header=name)
        async with http(gateway) as web:
            await ask(web, gateway, secrets["ann"], "s", sent)
            router.prefers = "beta"
            return await ask(web, gateway, secrets["ann"], "s", sent)

    assert asyncio.run(run("X-Thread", "x-thread")) == "alpha"
    assert asyncio.run(run("X-Thread", "x-session-id")) == "beta"
    assert asyncio.run(run("", "x-session-id")) == "beta"


@pytest.mark.parametrize("name", ["Authorization", "x api", "näme", "cache-control", "x" * 101])
def test_a_header_that_cannot_name_sessions_is_refused(name):
    with pytest.raises(InputError) as refused:
        ServeConfig.parse({"session_header": name})
    assert "session_header" in str(refused.value)


def test_min_success_speaks_against_a_session(tmp_path):
    async def run():
        gateway, router, secrets = make(tmp_path)
        async with http(gateway) as web:
            await ask(web, gateway, secrets["ann"], "s")
            router.prefers = "beta"
            return await ask(web, gateway, secrets["ann"], "s", min_success=0.5)

    assert asyncio.run(run()) == "beta"
