"""Each entry of the ledger is judged alone, no key pays beyond its reservation, and the books add up."""

import asyncio
import math
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from serve.config import ServeConfig
from serve.ledger.audit import check_books
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import (
    Caller,
    Extension,
    Figures,
    Grant,
    Heartbeat,
    Refusal,
    Reservation,
    Reserved,
    Settled,
    Settlement,
    Unbooked,
)
from serve.ledger.owners import DEAD_AFTER_S, OwnerWatch

ODD = [
    *(-1, -1e30, 1e30, 10**400, math.inf, -math.inf, math.nan, 0, True),
    *("12", "", None, [], {}, "\ud800", b"x", object()),
]
pytestmark = pytest.mark.usefixtures("either_store")
odd = st.sampled_from(ODD)
hostile = st.one_of(odd, st.floats(), st.integers(), st.text(max_size=3))


def bookkeeper_in(home, **settings_):
    return Bookkeeper(ServeConfig(home=Path(home), access="keys", **settings_))


def run(bookkeeper, *entries):
    return asyncio.run(bookkeeper.write(entries))


@st.composite
def hostile_entries(draw):
    """An entry in which anything may be what has no place there."""
    request_id = draw(st.sampled_from(["h1", "h2", "h3", "\ud800", "", None, 7, ["x"]]))
    caller = Caller(draw(st.sampled_from(["KEY", None, "key-unknown", 5])), is_paced=draw(st.booleans()))
    kind = draw(st.sampled_from(["reserve", "settle", "extend", "beat", "nonsense"]))
    if kind == "reserve":
        bounds = tuple(draw(st.lists(hostile, min_size=1, max_size=2)))
        likely = draw(st.one_of(st.just(()), st.just(bounds)))
        return Reservation(request_id, caller, bounds, draw(hostile), draw(st.just("o")), likely)
    if kind == "extend":
        return Extension(
            request_id, caller, draw(hostile), draw(st.sampled_from([0, 1, "1", None])), draw(hostile)
        )
    if kind == "beat":
        return Heartbeat(draw(st.sampled_from(["o", 5, None, "\ud800"])), draw(st.sampled_from([0, 1])))
    if kind == "nonsense":
        return draw(st.sampled_from([None, "x", 5, {"request_id": "h1"}]))
    usage = {"prompt_tokens": draw(hostile), "completion_tokens": draw(hostile)}
    answer = draw(
        st.sampled_from([None, Figures("a", usage, draw(hostile)), Figures("a", draw(hostile), 1.0)])
    )
    return Settlement(
        request_id,
        caller,
        draw(hostile),
        draw(hostile),
        answer,
        draw(st.sampled_from([(), (("a", 500),), (("a", None),), ("ab",)])),
        draw(
            st.sampled_from(
                [(), ({"request_id": "d", "x": math.nan},), ({"no": 1},), ({"request_id": object()},)]
            )
        ),
        draw(hostile),
        draw(hostile),
    )


def test_a_hostile_entry_harms_nobody_beside_it(either_store):
    @settings(deadline=None, max_examples=20 if either_store else 120)
    @given(st.data())
    def harms_nobody(data):
        check_hostile_entries(data)

    harms_nobody()


def check_hostile_entries(data):
    with TemporaryDirectory() as home:
        ledger = Ledger(Path(home) / LEDGER_FILE)
        victim, _ = ledger.create_key("victim", budget_usd=5.0, period="total")
        hostiles, _ = ledger.create_key("hostile", budget_usd=1.0, period="total")
        bookkeeper = bookkeeper_in(home)

        def named(entry):
            caller = getattr(entry, "caller", None)
            if caller is not None and caller.key_id == "KEY":
                object.__setattr__(entry, "caller", Caller(hostiles, is_paced=caller.is_paced))
            return entry

        sound = [Reservation(f"r{n}", Caller(victim), (0.5,), owner="o") for n in range(4)]
        settling = [Settlement(f"r{n}", Caller(victim), 0.25) for n in range(4)]
        for good, told in ((sound, Reserved), (settling, Settled)):
            batch = [*good, *(named(entry) for entry in data.draw(st.lists(hostile_entries(), max_size=6)))]
            order = data.draw(st.permutations(range(len(batch))))
            written = run(bookkeeper, *(batch[n] for n in order))
            by_place = {n: written[place] for place, n in enumerate(order)}
            for n in range(4):
                assert isinstance(by_place[n], told), by_place[n]
        keys = {key.name: key for key in ledger.list_keys()}
        assert (keys["victim"].spent_usd, keys["victim"].reserved_usd) == (1.0, 0.0)
        assert 0 <= keys["hostile"].spent_usd + keys["hostile"].reserved_usd <= 1.0
        asyncio.run(bookkeeper.figures())
        assert check_books(Path(home) / LEDGER_FILE).faults == ()


amounts = st.one_of(st.floats(0, 2), st.sampled_from([math.nan, math.inf, -1.0, 1e-12, "x"]))
steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "extend", "settle", "settle", "die", "overdue", "forget", "back"]),
        st.integers(0, 5),
        amounts,
        amounts,
    ),
    max_size=40,
)


def test_whatever_happens_to_calls_the_budget_holds_and_the_books_add_up(either_store):
    @settings(deadline=None, max_examples=20 if either_store else 150)
    @given(steps)
    def add_up(steps):
        check_steps(steps)

    add_up()


def check_steps(steps):
    with TemporaryDirectory() as home:
        ledger = Ledger(Path(home) / LEDGER_FILE)
        key_id, _ = ledger.create_key("ann", budget_usd=2.0, period="total")
        granted: dict[str, float] = {}
        now = 1_000_000.0
        for what, n, amount, other in steps:
            request_id = f"r{n}"
            if what == "reserve":
                told = ledger.reserve(
                    key_id,
                    request_id,
                    [amount],
                    lifetime_s=100,
                    now=now,
                    owner=f"o{n % 2}",
                    likely_usd=[other],
                )
                if isinstance(told, Grant):
                    granted[request_id] = told.reserved_usd
            elif what == "extend":
                told = ledger.extend(request_id, amount, likely_usd=other)
                if isinstance(told, Grant):
                    granted[request_id] = told.reserved_usd
            elif what == "settle":
                settled = ledger.settle(request_id, amount, disputed_usd=other)
                if settled.charged_usd is not None:
                    assert settled.charged_usd <= granted.get(request_id, 0.0)
                    assert ledger.settle(request_id, 1.5) == settled  # once is enough
            elif what == "die":
                ledger.bury(f"o{n % 2}")
            elif what == "overdue":
                now += 60
                ledger.end_overdue(now)
            elif what == "back":
                now -= 500
                ledger.end_overdue(now)
            else:
                ledger.forget_calls(-1e12)
            (key,) = ledger.list_keys()
            assert key.spent_usd + key.reserved_usd <= 2.0
            assert check_books(Path(home) / LEDGER_FILE).faults == ()
        for owner in ("o0", "o1"):
            ledger.bury(owner)
        assert ledger.list_keys()[0].reserved_usd == 0


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / LEDGER_FILE)


def columns(ledger, request_id):
    row = ledger._db.one("select cost, disputed, state from calls where request_id = ?", (request_id,))
    return row["cost"], row["disputed"], row["state"]


def test_what_is_claimed_beyond_the_reservation_is_disputed_and_counted(tmp_path, ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    bookkeeper = bookkeeper_in(tmp_path)
    caller = Caller(key_id)
    claimed = Settlement("r1", caller, 0.75, 0.125, Figures("dear", {"prompt_tokens": 5}, 0.1))
    run(bookkeeper, Reservation("r1", caller, (0.5,)))
    assert run(bookkeeper, claimed, claimed) == [Settled(0.5, 0.375), Settled(0.5, 0.375)]
    assert columns(ledger, "r1") == (5 * 10**11, 375 * 10**9, "settled")
    (key,) = ledger.list_keys()
    assert (key.spent_usd, key.disputed_usd, key.reserved_usd) == (0.5, 0.375, 0.0)
    assert 'leeroo_uncovered_cost_usd_total{expert="dear"} 0.75' in asyncio.run(bookkeeper.figures()).decode()


def test_an_extension_is_made_if_the_budget_allows_it_and_once(tmp_path, ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    bookkeeper, caller = bookkeeper_in(tmp_path), Caller(key_id)
    told = run(
        bookkeeper,
        Reservation("r1", caller, (0.25,)),
        Extension("r1", caller, 0.5, 1),
        Extension("r1", caller, 0.5, 1),
        Extension("r1", caller, 0.5, 2),
        Extension("unknown", caller, 0.1, 1),
        Extension("r9", Caller(), 5.0, 1),
    )
    assert [written.grant.reserved_usd for written in told[:3]] == [0.25, 0.75, 0.75]
    assert [written.grant.code for written in told[3:5]] == ["insufficient_quota"] * 2
    assert told[5].grant.reserved_usd == math.inf
    assert ledger.settle("r1", 0.7).charged_usd == 0.7


def test_an_endless_bound_is_no_reservation_for_a_budget(ledger):
    rich, _ = ledger.create_key("rich", budget_usd=900_000.0)
    assert isinstance(ledger.reserve(rich, "r1", [math.inf], lifetime_s=9), Refusal)
    assert isinstance(ledger.reserve(rich, "r2", [math.nan], lifetime_s=9), Refusal)
    free, _ = ledger.create_key("free")
    assert isinstance(ledger.reserve(free, "r3", [math.inf], lifetime_s=9), Grant)


def test_sums_of_absurd_claims_stay_whole_numbers(tmp_path, ledger):
    key_id, _ = ledger.create_key("free", period="total")
    for n in range(2_000):
        ledger.settle(f"r{n}", 0.0, disputed_usd=math.inf, key_id=key_id)
    assert check_books(tmp_path / LEDGER_FILE).faults == ()


# Owners.


def test_an_owner_is_dead_when_its_beats_stand_still_and_not_before():
    watch = OwnerWatch()
    for alive, second in enumerate(range(0, 100, 2)):
        dead = watch.find_dead({"alive": alive, "dead": 7}, second)
        assert dead == (["dead"] if second > DEAD_AFTER_S else [])


def test_whoever_looks_and_was_away_itself_judges_nobody():
    watch = OwnerWatch()
    watch.find_dead({"a": 1}, 0.0)
    assert watch.find_dead({"a": 1}, 100.0) == []
    assert watch.find_dead({"a": 1}, 100.0 + DEAD_AFTER_S / 2) == []


def test_a_dead_owners_calls_are_charged_as_likely_and_a_late_settlement_sets_it_right(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    for name, likely in (("r1", 0.25), ("r2", 9.0), ("r3", 0.0)):
        ledger.reserve(key_id, name, [0.3], lifetime_s=900, owner="gone", likely_usd=[likely])
    ledger.reserve(key_id, "r4", [0.1], lifetime_s=900, owner="here", likely_usd=[0.1])
    assert ledger.bury("gone") == 3
    (key,) = ledger.list_keys()
    assert (key.spent_usd, key.reserved_usd) == (0.55, 0.1)
    assert ledger.settle("r1", 0.125).charged_usd == 0.125  # less than was likely
    assert ledger.settle("r3", 0.3).charged_usd == 0.3
    (key,) = ledger.list_keys()
    assert (key.spent_usd, key.reserved_usd) == (0.725, 0.1)
    assert ledger.bury("gone") == 0


def test_a_process_that_was_taken_for_dead_goes_on_with_its_call_if_the_budget_still_holds_it(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    for name in ("r1", "r2"):
        ledger.reserve(key_id, name, [0.4], lifetime_s=900, owner="slow", likely_usd=[0.1])
    ledger.bury("slow")
    assert ledger.extend("r1", 0.2).reserved_usd == pytest.approx(0.6)
    assert ledger.extend("r2", 0.2).code == "insufficient_quota"
    (key,) = ledger.list_keys()
    assert key.spent_usd + key.reserved_usd == pytest.approx(1.0)  # both are under way again
    assert ledger.settle("r1", 0.5).charged_usd == 0.5


def test_a_late_settlement_never_breaks_the_budget(ledger):
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    ledger.reserve(key_id, "r1", [1.0], lifetime_s=900, owner="gone", likely_usd=[0.25])
    ledger.bury("gone")
    ledger.reserve(key_id, "r2", [0.7], lifetime_s=900, owner="here")
    settled = ledger.settle("r1", 0.9)
    assert settled == Settled(pytest.approx(0.3), pytest.approx(0.6))


def test_a_bookkeeper_that_starts_again_settles_what_nobody_lives_for(tmp_path, ledger, monkeypatch):
    """As after a whole endpoint was killed: its ingress will never be heard again."""
    monkeypatch.setattr("serve.ledger.bookkeeper.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("serve.ledger.bookkeeper.WRITTEN_EVERY_S", 0.05)
    key_id, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    caller = Caller(key_id)
    run(
        bookkeeper_in(tmp_path),
        *(
            Reservation(f"{owner}1", caller, (0.25,), owner=owner, likely_usd=(0.125,))
            for owner in ("a", "b")
        ),
    )

    async def go():
        later = bookkeeper_in(tmp_path)
        later._watch = OwnerWatch(dead_after_s=0.5)
        await later.check_health()
        for _ in range(40):
            await later.write([Heartbeat("b")])
            await asyncio.sleep(0.05)

    asyncio.run(go())
    (key,) = ledger.list_keys()
    assert (key.spent_usd, key.reserved_usd) == (0.125, 0.25)


def test_an_entry_that_cannot_be_written_is_told_to_its_own_caller(tmp_path, ledger):
    key_id, _ = ledger.create_key("ann")
    caller = Caller(key_id)
    told = run(
        bookkeeper_in(tmp_path),
        Reservation("r1", caller, (0.5,)),
        Reservation("\ud800", caller, (0.5,)),
        Reservation("r2", caller, (0.5,)),
    )
    assert [type(written) for written in told] == [Reserved, Unbooked, Reserved]


def test_an_entry_that_cannot_be_written_costs_the_others_nothing_in_memory(tmp_path, ledger):
    """They are written again apart: a request is counted once, and a process that was heard stays so."""
    key_id, _ = ledger.create_key("ann")
    often, odd_entry = Caller(key_id, requests_per_minute=1), Reservation("\ud800", Caller(key_id), (0.5,))
    bookkeeper = bookkeeper_in(tmp_path)
    told = run(bookkeeper, Reservation("r1", often, (0.5,), owner="a"), odd_entry, Heartbeat("b"))
    assert isinstance(told[0].grant, Grant)
    assert isinstance(told[1], Unbooked)
    assert ledger.beats().keys() >= {"a", "b"}
    assert all(ledger.beats().values())
    (again,) = run(bookkeeper, Reservation("r2", often, (0.5,)))
    assert isinstance(again.grant, Refusal)


def test_a_process_that_was_heard_once_is_waited_for(tmp_path, ledger):
    """Also where its beat was written twice, since another entry could not be written."""
    key_id, _ = ledger.create_key("ann")
    bookkeeper = bookkeeper_in(tmp_path)
    run(bookkeeper, Heartbeat("a", 1))
    asyncio.run(bookkeeper.drain(5.0))
    run(bookkeeper, Heartbeat("a", 0), Reservation("\ud800", Caller(key_id), (0.5,)))
    assert asyncio.run(bookkeeper.drain(5.0)).under_way == 1
    run(bookkeeper, Heartbeat("a", 0))
    assert asyncio.run(bookkeeper.drain(5.0)).under_way == 0
