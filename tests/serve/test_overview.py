"""The overview: sums of what settled, whoever looks, and nothing of others for a key."""

import asyncio
import functools
import math
import sys
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import BROKEN, FixedRouter, LocalLedger, LocalRouter, ScriptedExpert

from experts.upstream import Failure, FailureKind
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Figures, Settled, Settlement, TrafficRecord
from serve.ledger.overview.overview import Overview
from serve.ledger.overview.seen import estimate_saved_usd
from serve.ledger.overview.tallies import TallyBook
from serve.request.gateway import Gateway
from warehouse.home import Home

pytestmark = pytest.mark.usefixtures("either_store")

EXPERTS = ("a", "b", "c")
KEYS = (None, "key-1", "key-2")
AMOUNTS = st.floats(0, 5, allow_subnormal=False)
DAY_S = 86_400.0


def in_a_loop(test):
    """Run a coroutine as a test."""

    @functools.wraps(test)
    def run(*given, **named):
        asyncio.run(test(*given, **named))

    return run


def record(request_id, chosen, forecasts, *, role="champion", version="3"):
    row = {
        "request_id": request_id,
        "role": role,
        "router_version": version,
        "experts": list(forecasts),
        "predicted_success": [success for success, _ in forecasts.values()],
        "predicted_cost_usd": [cost for _, cost in forecasts.values()],
        "chosen": chosen,
        "explored": False,
        "tried": [],
        "tried_why": [],
    }
    return TrafficRecord(request_id, orjson.dumps(row))


@st.composite
def requests(draw):
    """Settlements of several keys and days, some of them settled twice: ``(day, settlement)``."""
    made = []
    for number in range(draw(st.integers(0, 25))):
        name, caller = f"r{number}", Caller(draw(st.sampled_from(KEYS)))
        names = draw(st.lists(st.sampled_from(EXPERTS), unique=True, min_size=1))
        forecasts = {one: (draw(st.floats(0, 1)), draw(AMOUNTS)) for one in names}
        records = (record(name, names[0], forecasts),) if draw(st.booleans()) else ()
        answered = draw(st.sampled_from([True, True, False]))
        settlement = Settlement(
            name,
            caller,
            draw(AMOUNTS),
            answer=Figures(names[0], {}, draw(AMOUNTS)) if answered else None,
            failures=() if answered else (("a", 500),),
            records=records if answered else (),
        )
        made += [(draw(st.integers(0, 40)), settlement)] * draw(st.sampled_from([1, 1, 2]))
    return made


def test_sums_are_those_of_the_requests_of_the_days_asked_for(tmp_path_factory, either_store):
    @settings(deadline=None, max_examples=15 if either_store else 60)
    @given(requests(), st.integers(1, 31), st.lists(st.booleans(), min_size=50, max_size=50))
    def are_those(made, days, flushes):
        check_sums(Ledger(tmp_path_factory.mktemp("ledger") / LEDGER_FILE), made, days, flushes)

    are_those()


def check_sums(ledger, made, days, flushes):
    now = 40 * DAY_S
    clock = [now]
    overview = Overview(ledger, lambda: clock[0])
    for (ago, settlement), flush in zip(made, flushes, strict=False):
        clock[0] = now - min(ago, 38) * DAY_S
        overview.count(settlement, Settled(None))
        if flush:
            overview.flush()
    clock[0] = now

    once = {one.request_id: (min(ago, 38), one) for ago, one in reversed(made[: len(flushes)])}
    for caller in (Caller(), Caller("key-1"), Caller("key-9"), Caller("key-2", is_operator=True)):
        seen = overview.look(caller, days)
        counted = [
            one
            for ago, one in once.values()
            if ago < days and (caller.sees_all or one.caller.key_id == caller.key_id)
        ]
        answered = [one for one in counted if one.answer]
        assert seen.everything.answers == len(answered)
        assert seen.everything.cost_usd == pytest.approx(sum(one.cost_usd for one in answered))
        assert seen.everything.failed == len(counted) - len(answered)
        for name in EXPERTS:
            own = [one for one in answered if one.answer.expert == name]
            rows = [orjson.loads(one.records[0].content) for one in answered if one.records]
            among = [row for row in rows if name in row["experts"]]
            tally = seen.experts.get(name)
            assert (tally.answers if tally else 0) == len(own)
            assert (tally.compared if tally else 0) == len(among)
            forecast = sum(row["predicted_cost_usd"][row["experts"].index(name)] for row in among)
            assert (tally.forecast_usd if tally else 0) == pytest.approx(forecast)
        assert {one.key_id for one in seen.recent} <= ({*KEYS} if caller.sees_all else {caller.key_id})
        check_savings(seen, answered)
    ledger.close()


def check_savings(seen, answered):
    rows = [(one, orjson.loads(one.records[0].content)) for one in answered if one.records]
    means = {}
    for name in EXPERTS:
        among = [
            row["predicted_success"][row["experts"].index(name)] for _, row in rows if name in row["experts"]
        ]
        if among and len(among) >= len(rows) / 2:
            means[name] = sum(among) / len(among)
    if not means:
        assert seen.savings is None
        return
    found = seen.savings
    assert means[found.best_expert] == pytest.approx(max(means.values()))
    own = [(one, row) for one, row in rows if found.best_expert in row["experts"]]
    would = sum(row["predicted_cost_usd"][row["experts"].index(found.best_expert)] for _, row in own)
    paid = sum(one.cost_usd for one, _ in own)
    assert (found.requests, found.best_usd, found.paid_usd) == (len(own), *map(pytest.approx, (would, paid)))
    assert found.saved_usd == pytest.approx(estimate_saved_usd(would, found.chosen_usd, paid))


USD = st.floats(1e-9, 1e6)


@given(best_usd=USD, chosen_usd=USD, paid_usd=USD, factor=st.floats(0.01, 100))
def test_savings_do_not_depend_on_how_far_all_forecasts_are_off(best_usd, chosen_usd, paid_usd, factor):
    saved_usd = estimate_saved_usd(best_usd, chosen_usd, paid_usd)
    scaled_usd = estimate_saved_usd(best_usd * factor, chosen_usd * factor, paid_usd)
    assert saved_usd == pytest.approx(scaled_usd, abs=1e-9 * (paid_usd + abs(saved_usd)))
    assert estimate_saved_usd(best_usd, best_usd, paid_usd) == pytest.approx(0, abs=1e-9 * paid_usd)
    assert (saved_usd > 1e-9 * paid_usd) <= (best_usd > chosen_usd)
    assert estimate_saved_usd(best_usd, 0.0, paid_usd) == best_usd - paid_usd


def test_what_is_kept_does_not_grow_with_the_requests(tmp_path):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    overview = Overview(ledger)
    forecasts = dict.fromkeys(EXPERTS, (0.5, 0.01))
    for number in range(5_000):
        name = f"r{number}"
        settlement = Settlement(
            name, Caller(), 0.01, answer=Figures("a", {}, 0.1), records=(record(name, "a", forecasts),)
        )
        overview.count(settlement, Settled(None))
    seen = overview.look(Caller(), 7)
    assert seen.everything.answers == seen.savings.requests == 5_000
    assert seen.latencies["a"].answers == 2_000  # the last ones
    rows = ledger._db.one("select count(*) as rows from tallies")["rows"]
    assert rows == 1 + 1 + len(EXPERTS)
    assert Overview(ledger).look(Caller(), 7).everything.answers == 5_000  # after a start of the process


@pytest.mark.parametrize("odd", [math.nan, math.inf, -1.0, 1e300, None])
def test_odd_amounts_spoil_no_sum(tmp_path, odd):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    overview = Overview(ledger)
    forecasts = {"a": (0.5, odd), "b": (odd, 0.1), "c": (0.4, 0.2)}
    told = [
        Settlement(
            "r1", Caller(), odd, answer=Figures("a", {}, odd), records=(record("r1", "c", forecasts),)
        ),
        Settlement("r2", Caller(), 0.1, answer=Figures("c", {}, 1.0), records=(TrafficRecord("r2", b"no"),)),
        Settlement("r3", Caller(), 0.3, answer=Figures("c", {}, 1.0), records=()),
    ]
    for settlement in told:
        overview.count(settlement, Settled(None))
    seen = overview.look(Caller(), 1)
    assert seen.everything.answers == 2  # what cannot be read is not counted
    assert seen.everything.cost_usd == pytest.approx(0.3)
    assert (seen.savings.best_expert, seen.savings.best_usd) == ("c", pytest.approx(0.2))


def endpoint(home, experts=None, router=None, **fields):
    config = ServeConfig(home=home, **fields)
    experts = experts or {"gemma-3-270m": ScriptedExpert("gemma-3-270m")}
    gateway = Gateway(config, router or FixedRouter(*experts), LocalLedger(config), experts)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(create_api(gateway), client=("127.0.0.1", 1)),
        base_url="http://localhost",
    )
    return gateway, client


async def ask(gateway, client, secret=None):
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    body = {"model": "leeroo", "messages": [{"role": "user", "content": "hello"}]}
    reply = await client.post("/v1/chat/completions", json=body, headers=headers)
    await gateway.drain(5)
    return reply


async def overview_of(client, secret=None, **asked):
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return await client.get("/v1/overview", params=asked, headers=headers)


@in_a_loop
async def test_a_key_sees_itself_and_an_operator_everybody(tmp_path):
    ledger = Ledger(Home.open(tmp_path).path / LEDGER_FILE)
    (_, ann), (_, bob) = (ledger.create_key(name, budget_usd=1.0) for name in ("ann", "bob"))
    _, op = ledger.create_key("op", operator=True)
    assert [key.operator for key in ledger.list_keys()] == [False, False, True]
    gateway, client = endpoint(tmp_path)
    for secret in (ann, ann, bob):
        assert (await ask(gateway, client, secret)).status_code == 200

    assert (await overview_of(client)).status_code == 401
    assert (await overview_of(client, op, days=0)).status_code == 400
    mine = (await overview_of(client, ann)).json()
    assert (mine["sees_all"], mine["answers"]) == (False, 2)
    assert [key["name"] for key in mine["keys"]] == ["ann"]
    assert "bob" not in str(mine)
    assert mine["in_flight"] is None
    every = (await overview_of(client, op)).json()
    assert (every["sees_all"], every["answers"], every["compared"]) == (True, 3, 3)
    assert {one["key"] for one in every["recent"]} == {"ann", "bob"}
    assert {key["name"] for key in every["keys"]} == {"ann", "bob", "op"}
    assert every["recent"][0]["why"] == "told so"
    assert every["keys"][0]["left_usd"] == pytest.approx(1 - every["keys"][0]["spent_usd"])
    assert every["versions"][0] | {"role": "champion", "requests": 3} == every["versions"][0]


@in_a_loop
async def test_nothing_is_known_of_the_decisions_that_are_not_recorded(tmp_path):
    gateway, client = endpoint(tmp_path, record="none")
    await ask(gateway, client)
    told = (await overview_of(client)).json()
    assert (told["answers"], told["compared"], told["savings"]) == (1, 0, None)
    assert (told["recent"][0]["why"], told["recent"][0]["forecasts"]) == ("", [])


class DeadRouter(FixedRouter):
    async def versions(self):
        raise ConnectionError("the router is gone")


@in_a_loop
async def test_a_dead_router_and_a_resting_expert_are_shown_beside_the_rest(tmp_path):
    names = "gemma-3-270m", "smollm2-135m"
    gone = Failure(FailureKind.CREDENTIALS, "no such key")
    experts = {
        names[0]: ScriptedExpert(names[0], gone, gone),
        names[1]: ScriptedExpert(names[1]),
    }
    gateway, client = endpoint(tmp_path, experts, DeadRouter(*names))
    empty = (await overview_of(client)).json()
    assert (empty["answers"], empty["router"], empty["champion"]) == (0, "not answering", None)
    assert (empty["by_day"], empty["p50_s"], empty["savings"]) == ([], None, None)
    assert (await ask(gateway, client)).status_code == 200
    told = (await overview_of(client)).json()
    states = {one["expert"]: one["state"] for one in told["experts"]}
    assert states == {names[0]: "resting", names[1]: "ok"}
    assert told["recent"][0]["tried"] == [f"{names[0]}: credentials"]
    assert told["recent"][0]["chosen"] == names[0]


@in_a_loop
async def test_a_request_that_nobody_answers_is_counted_as_failed(tmp_path):
    name = "gemma-3-270m"
    gateway, client = endpoint(tmp_path, {name: ScriptedExpert(name, BROKEN)})
    assert (await ask(gateway, client)).status_code >= 500
    told = (await overview_of(client)).json()
    assert (told["answers"], told["failed"]) == (0, 1)


@in_a_loop
async def test_a_challenger_beside_the_champion_is_compared(tmp_path, orchestrator):
    experts = {name: ScriptedExpert(name) for name in orchestrator.experts}
    gateway, client = endpoint(tmp_path, experts, LocalRouter(orchestrator, orchestrator))
    await ask(gateway, client)
    told = (await overview_of(client)).json()
    assert (told["champion"], told["challenger"]) == ("v1", "v2")
    shadow = next(one for one in told["versions"] if one["role"] == "shadow")
    assert (shadow["version"], shadow["requests"], shadow["agrees"]) == ("v2", 1, 1.0)


@in_a_loop
async def test_a_stop_writes_the_sums_and_sums_that_cannot_be_written_stop_nothing(tmp_path, monkeypatch):
    keeper = Bookkeeper(ServeConfig(home=tmp_path, access="open"))
    settlement = Settlement("r1", Caller(), 0.25, answer=Figures("a", {}, 0.1))
    await keeper.write([settlement])
    with monkeypatch.context() as patch:
        patch.setattr(TallyBook, "add", lambda *_: 1 / 0)
        await keeper.drain(1.0)  # and so the turns of every half minute go on
    await keeper.drain(1.0)
    ledger = Ledger(tmp_path / LEDGER_FILE)
    assert ledger.tallies.by_name("", "all", "2000-01-01")[""].cost_usd == 0.25
    ledger.close()
