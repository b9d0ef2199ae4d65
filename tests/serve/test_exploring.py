"""Exploring at the endpoint: propensities are exact, limits hold, and the day's money is kept to."""

import asyncio
from collections import Counter

import numpy as np
import pytest
from fake_experts import BROKEN, LocalLedger, LocalRouter, ScriptedExpert
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Explored, Reservation
from serve.ledger.traffic.carrying import carry_traffic
from serve.request.gateway import Gateway
from serve.wire.protocol import ChatRequest
from warehouse import InputError, Warehouse

pytestmark = pytest.mark.usefixtures("either_store")

SMOL, GEMMA = "smollm2-135m", "gemma-3-270m"
TOWN = [{"role": "user", "content": "What is the capital of Peru?"}]  # gemma's, at quality


@pytest.fixture
def serve(orchestrator, tmp_path):
    def make(*experts, **fields):
        config = ServeConfig(home=tmp_path, **fields)
        by_name = {expert.spec.name: expert for expert in experts or map(ScriptedExpert, (SMOL, GEMMA))}
        gateway = Gateway(config, LocalRouter(orchestrator), LocalLedger(config), by_name)
        gateway._rng = np.random.default_rng(3)
        return gateway

    return make


def ask(gateway, count=1, caller=None, **fields):
    async def go():
        body = {"model": "leeroo:quality", "messages": TOWN} | fields
        for _ in range(count):
            await gateway.answer(ChatRequest(**body), caller or Caller())
        await gateway.drain(5)

    asyncio.run(go())
    carry_traffic(gateway.config)
    return Warehouse(str(gateway.config.home / "warehouse")).scan("traffic").sort_by("created_at").to_pylist()


def test_draws_are_as_frequent_as_their_propensities_say(serve):
    rows = ask(serve(explore_share=0.5, explore_temperature=0.5), 400)
    (chances,) = {tuple(row["propensities"]) for row in rows}
    expected = dict(zip(rows[0]["experts"], chances, strict=True))
    assert 0.05 < expected[SMOL] < 0.5
    drawn = Counter(row["chosen"] for row in rows)
    deviation = (400 * expected[SMOL] * expected[GEMMA]) ** 0.5
    assert abs(drawn[SMOL] - 400 * expected[SMOL]) < 4 * deviation
    assert all(row["explored"] == (row["chosen"] == SMOL) for row in rows)
    assert all(row["expert"] == row["chosen"] for row in rows)


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({"explore_share": 0.0}, {}),
        ({"explore_share": 1.0, "explore_usd_per_day": 0.0}, {}),
        ({"explore_share": 1.0}, {"experts": [GEMMA]}),
        ({"explore_share": 1.0}, {"min_success": 0.99}),
        ({"explore_share": 1.0}, {"model": "leeroo:ensemble"}),
    ],
)
def test_where_nobody_may_be_drawn_the_choice_has_all_of_the_chance(serve, settings, fields):
    for row in ask(serve(**settings), 10, **fields):
        chances = dict(zip(row["experts"], row["propensities"], strict=True))
        assert chances[row["chosen"]] == 1
        assert not row["explored"]


def test_a_request_that_names_its_expert_gets_it(serve):
    rows = ask(serve(explore_share=1.0), 10, model=SMOL)
    assert {(row["chosen"], tuple(row["propensities"])) for row in rows} == {(SMOL, (1.0,))}


def test_a_key_explores_by_its_own_share(serve, tmp_path):
    gateway = serve(explore_share=1.0, explore_temperature=100.0)
    keys = Ledger(tmp_path / LEDGER_FILE)
    never, _ = keys.create_key("never")
    free, _ = keys.create_key("free")
    assert not any(row["explored"] for row in ask(gateway, 10, caller=Caller(never, explore_share=0.0)))
    rows = ask(gateway, 30, caller=Caller(free))
    assert any(row["explored"] for row in rows if row["key_id"] == free)


def test_a_conversation_that_stays_is_no_draw(serve):
    gateway = serve(explore_share=1.0, explore_temperature=100.0)

    async def talk():
        messages = [*TOWN]
        for _ in range(8):
            answer = await gateway.answer(ChatRequest(model="leeroo:quality", messages=messages), Caller())
            said = answer["choices"][0]["message"]["content"]
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "Go on."}]
            await gateway.drain(5)

    asyncio.run(talk())
    carry_traffic(gateway.config)
    rows = Warehouse(str(gateway.config.home / "warehouse")).scan("traffic").to_pylist()
    for row in rows:
        chances = dict(zip(row["experts"], row["propensities"], strict=True))
        assert 0 < chances[row["chosen"]] <= 1
    stayed = [row for row in rows if 1.0 in row["propensities"]]
    assert not any(row["explored"] for row in stayed)


def test_an_explored_expert_that_fails_falls_back_and_costs_what_it_did(serve, tmp_path):
    gateway = serve(
        ScriptedExpert(SMOL, *[BROKEN] * 50),
        ScriptedExpert(GEMMA),
        explore_share=1.0,
        explore_temperature=100.0,
    )
    rows = ask(gateway, 20)
    explored = [row for row in rows if row["explored"]]
    assert explored
    assert {(row["chosen"], row["expert"], tuple(row["tried"])) for row in explored} == {
        (SMOL, GEMMA, (SMOL,))
    }
    booked = Ledger(tmp_path / LEDGER_FILE).exploring.spent_usd()[""]
    greedy = [dict(zip(row["experts"], row["predicted_cost_usd"], strict=True))[GEMMA] for row in explored]
    beyond = sum(max(0, row["cost_usd"] - usd) for row, usd in zip(explored, greedy, strict=True))
    assert booked == pytest.approx(beyond, abs=1e-11)
    figures = asyncio.run(gateway.ledger.figures()).decode()
    assert f'leeroo_explored_total{{expert="{SMOL}"}} {len(explored):.1f}' in figures


@settings(max_examples=60, deadline=None)
@given(
    cap=st.floats(0, 5e-6),
    own=st.none() | st.floats(0, 2e-6),
    calls=st.lists(
        st.tuples(st.floats(1e-8, 3e-6), st.booleans(), st.floats(0, 1e-5), st.booleans()), max_size=25
    ),
)
def test_the_days_money_is_never_exceeded_and_never_depends_on_the_dice(tmp_path_factory, cap, own, calls):
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db")
    caller = Caller("k1", explore_usd_per_day=own)
    for number, (bound, explores, beyond, settles) in enumerate(calls):
        entry = Reservation(f"r{number}", caller, (bound,), explores=explores)
        other = Reservation(f"o{number}", caller, (bound,), explores=False)
        told = ledger.exploring.reserve(other, cap)
        assert ledger.exploring.reserve(entry, cap) == told <= bound + 1e-12
        assert ledger.exploring.reserve(entry, cap) == told  # again, as after a lost reply
        spent = ledger.exploring.spent_usd()
        assert spent.get("", 0.0) <= cap + 1e-12
        assert spent.get("k1", 0.0) <= min(cap, cap if own is None else own) + 1e-12
        if settles:
            booked = ledger.exploring.settle(entry.request_id, Explored("a", 0.0, beyond))
            assert (booked is not None) == (explores and told > 0)
            assert ledger.exploring.settle(entry.request_id, Explored("a", 0.0, beyond)) is None
            assert booked is None or booked <= min(told, beyond) + 1e-12
    assert ledger.exploring.spent_usd().get("k1", 0.0) == pytest.approx(
        ledger.exploring.spent_usd().get("", 0.0)
    )


def test_with_the_days_money_spent_it_is_greedy_and_says_so(serve, tmp_path):
    gateway = serve(explore_share=1.0, explore_temperature=100.0, explore_usd_per_day=1.0)
    assert any(row["explored"] for row in ask(gateway, 20))
    ledger = Ledger(tmp_path / LEDGER_FILE)
    ledger._db.write("update exploring set pico = 1000000000000")
    before = {row["request_id"] for row in ask(gateway, 0)}
    for row in ask(gateway, 10):
        if row["request_id"] not in before:
            assert (row["chosen"], max(row["propensities"])) == (GEMMA, 1.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("explore_share", 1.5), ("explore_share", -0.1), ("explore_temperature", 0), ("explore_usd_per_day", -1),
     ("explore_usd_per_day", float("inf")), ("record", "all")],
)  # fmt: skip
def test_settings_that_mean_nothing_are_one_clear_message(field, value):
    with pytest.raises(InputError, match=field):
        ServeConfig.parse({field: value})


def test_a_keys_settings_are_checked_and_changed(tmp_path):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    key_id, _ = ledger.create_key("ann", record="features")
    assert ledger.change_key("ann", explore_share=0.25) == key_id
    (key,) = ledger.list_keys()
    assert (key.record, key.explore_share, key.explore_usd_per_day) == ("features", 0.25, None)
    with pytest.raises(InputError, match="share"):
        ledger.change_key("ann", explore_share=2)
    with pytest.raises(InputError, match="no active key"):
        ledger.change_key("bob", record="none")
