"""Teams: budgets within budgets. None is ever exceeded, whoever spends in it, and the books add up."""

import asyncio
import json
import random
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.cli import app
from serve.config import ServeConfig
from serve.ledger.audit import check_books
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Extension, Grant, Refusal, Reservation, Settlement
from serve.ledger.store.tables import FORMAT
from warehouse import InputError

PICO = 10**12
LIFETIME = {"lifetime_s": 900.0}
CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # a busy machine is no fault
pytestmark = pytest.mark.usefixtures("either_store")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / LEDGER_FILE)


def books(ledger):
    """What is spent and set aside in each team and key, by name, in picodollars."""
    found = [*ledger.list_teams(), *ledger.list_keys()]
    return {one.name: (round(one.spent_usd * PICO), round(one.reserved_usd * PICO)) for one in found}


def test_keys_of_a_team_share_its_budget_and_are_told_whose_it_is(ledger, tmp_path):
    ledger.create_team("all", budget_usd=1.0, period="total")
    ledger.create_team("lab", budget_usd=0.75, parent="all")
    ann, _ = ledger.create_key("ann", team="lab", budget_usd=0.5)
    bob, _ = ledger.create_key("bob", team="lab")
    eve, _ = ledger.create_key("eve", team="all")
    assert ledger.reserve(ann, "r1", [0.5], **LIFETIME) == Grant(0.5, 0.0)
    told = ledger.reserve(bob, "r2", [0.5], **LIFETIME)
    assert told.code == "insufficient_quota"
    assert "the team lab has $0.25 left of its budget (month)" in told.message
    assert ledger.reserve(bob, "r2", [0.5, 0.25], **LIFETIME) == Grant(0.25, 0.0)
    assert "the team all has $0.25 left" in ledger.reserve(eve, "r3", [0.3], **LIFETIME).message
    assert "this key has $0 left" in ledger.reserve(ann, "r4", [0.1], **LIFETIME).message
    ledger.settle("r1", 0.125)
    ledger.settle("r2", 0.25)
    assert books(ledger) == {
        "all": (375 * 10**9, 0),
        "lab": (375 * 10**9, 0),
        "ann": (125 * 10**9, 0),
        "bob": (250 * 10**9, 0),
        "eve": (0, 0),
    }
    assert check_books(tmp_path / LEDGER_FILE).faults == ()


def test_a_team_has_periods_of_its_own(ledger):
    ledger.create_team("lab", budget_usd=1.0, period="day")
    ann, _ = ledger.create_key("ann", team="lab", budget_usd=1.5, period="total")
    day = 86_400.0
    assert isinstance(ledger.reserve(ann, "r1", [1.0], lifetime_s=9 * day, now=10 * day), Grant)
    assert "the team lab" in ledger.reserve(ann, "r2", [0.5], lifetime_s=9 * day, now=10 * day).message
    assert isinstance(ledger.reserve(ann, "r2", [0.5], lifetime_s=9 * day, now=11 * day), Grant)
    assert "this key" in ledger.reserve(ann, "r3", [0.5], lifetime_s=9 * day, now=12 * day).message


def test_a_call_stays_where_it_began_when_its_key_moves(ledger, tmp_path):
    for name in ("one", "two"):
        ledger.create_team(name, budget_usd=1.0, period="total")
    ann, _ = ledger.create_key("ann", team="one", period="total")
    ledger.reserve(ann, "r1", [0.5], **LIFETIME)
    ledger.change_key("ann", team="two")
    assert isinstance(ledger.extend("r1", 0.75), Refusal)  # beyond the first team's budget
    assert isinstance(ledger.extend("r1", 0.25), Grant)
    ledger.reserve(ann, "r2", [1.0], **LIFETIME)
    ledger.settle("r1", 0.625)
    ledger.change_key("ann", team=None)
    ledger.settle("r2", 1.0)
    assert books(ledger) == {
        "one": (625 * 10**9, 0),
        "two": (PICO, 0),
        "ann": (1625 * 10**9, 0),
    }
    assert check_books(tmp_path / LEDGER_FILE).faults == ()


def test_a_budget_may_be_lowered_below_what_is_spent_and_that_is_no_fault(ledger, tmp_path):
    ledger.create_team("lab", budget_usd=2.0)
    ann, _ = ledger.create_key("ann", team="lab", budget_usd=2.0)
    ledger.reserve(ann, "r1", [1.0], **LIFETIME)
    ledger.settle("r1", 1.0)
    ledger.reserve(ann, "r2", [0.5], **LIFETIME)
    ledger.change_key("ann", budget_usd=0.25)
    ledger.change_team("lab", budget_usd=1.0)
    assert check_books(tmp_path / LEDGER_FILE).faults == ()
    assert isinstance(ledger.reserve(ann, "r3", [0.0625], **LIFETIME), Refusal)
    ledger.change_key("ann", budget_usd=None)
    assert "the team lab" in ledger.reserve(ann, "r3", [0.0625], **LIFETIME).message
    ledger.change_team("lab", budget_usd=1.5625)
    assert isinstance(ledger.reserve(ann, "r3", [0.0625], **LIFETIME), Grant)
    ledger._db.write("update spending set spent = spent + 1 where key_id = ?", (ann,))
    assert len(check_books(tmp_path / LEDGER_FILE).faults) == 1


def test_what_holds_no_team_together_is_refused(ledger):
    ledger.create_team("a")
    ledger.create_team("b", parent="a")
    for wrong in (
        lambda: ledger.create_team("a"),
        lambda: ledger.create_team("c", parent="nobody"),
        lambda: ledger.create_team("c", budget_usd=-1.0),
        lambda: ledger.change_team("a", parent="b"),
        lambda: ledger.change_team("a", parent="a"),
        lambda: ledger.change_team("nobody", budget_usd=1.0),
        lambda: ledger.remove_team("a"),
        lambda: ledger.create_key("ann", team="nobody"),
        lambda: ledger.create_key("ann", period="year"),
    ):
        with pytest.raises(InputError):
            wrong()
    for n in range(6):
        ledger.create_team(f"deep{n}", parent=f"deep{n - 1}" if n else "b")
    with pytest.raises(InputError, match="levels"):
        ledger.create_team("deeper", parent="deep5")
    ledger.create_team("top")
    with pytest.raises(InputError, match="levels"):
        ledger.change_team("a", parent="top")
    ann, _ = ledger.create_key("ann", team="deep5")
    with pytest.raises(InputError, match="ann would be left"):
        ledger.remove_team("deep5")
    assert isinstance(ledger.reserve(ann, "r1", [1.0], **LIFETIME), Grant)
    ledger.revoke_key("ann")
    ledger.remove_team("deep5")
    assert "deep5" not in {team.name for team in ledger.list_teams()}
    ledger.settle("r1", 1.0)
    assert {name: spent for name, (spent, _) in books(ledger).items()}["a"] == PICO


def test_a_ledger_of_the_version_before_gets_teams(ledger, tmp_path, either_store):
    ann, _ = ledger.create_key("ann", budget_usd=1.0, period="total")
    ledger.reserve(ann, "r1", [0.5], **LIFETIME)
    db = ledger._db
    db.write("drop table teams")
    for table, column in (("keys", "team_id"), ("calls", "teams"), ("spending", "excused")):
        db.write(f"alter table {table} drop column {column}")
    old = str(FORMAT - 1)
    db.write(f"pragma user_version = {old}" if either_store is None else f"update about set told = '{old}'")
    ledger.close()
    again = Ledger(tmp_path / LEDGER_FILE)
    again.create_team("lab", budget_usd=0.5)
    again.change_key("ann", team="lab")
    assert again.settle("r1", 0.25).charged_usd == 0.25
    assert again.reserve(ann, "r2", [0.5], **LIFETIME) == Grant(0.5, 0.0)
    assert books(again)["lab"] == (0, PICO // 2)
    assert check_books(tmp_path / LEDGER_FILE).faults == ()


# Any tree of budgets, and whatever happens in it.

AMOUNTS = st.integers(0, 3 * PICO).map(lambda pico: pico / PICO) | st.sampled_from([0.0, 0.25, 1e6])
BUDGETS = st.none() | st.integers(0, 4 * PICO).map(lambda pico: pico / PICO)
PERIODS = st.sampled_from(["day", "month", "total"])
#: Teams and keys: budget, period, and which of the teams before it each lies in; -1 for none.
TREES = st.tuples(
    st.lists(st.tuples(BUDGETS, PERIODS, st.integers(-1, 3)), min_size=1, max_size=4),
    st.lists(st.tuples(BUDGETS, PERIODS, st.integers(-1, 3)), min_size=1, max_size=3),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["reserve"] * 3 + ["extend", "settle", "settle", "die", "later", "forget", "move", "group"]
        ),
        st.integers(0, 7),
        AMOUNTS,
        AMOUNTS,
    ),
    max_size=30,
)


def test_in_any_tree_of_budgets_none_is_exceeded_and_the_books_add_up(either_store):
    @settings(
        deadline=None, max_examples=15 if either_store else 100, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(TREES, STEPS)
    def add_up(tree, steps):
        with TemporaryDirectory() as home:
            check_tree(Path(home), tree, steps)

    add_up()


def check_tree(home, tree, steps):
    ledger = Ledger(home / LEDGER_FILE)
    bookkeeper = Bookkeeper(ServeConfig(home=home, access="keys"))
    teams, keys, budgets = [], [], {}
    for number, (budget_usd, period, parent) in enumerate(tree[0]):
        above = teams[parent] if 0 <= parent < len(teams) else None
        teams.append(ledger.create_team(f"t{number}", budget_usd=budget_usd, period=period, parent=above))
        budgets[f"t{number}"] = budget_usd
    for number, (budget_usd, period, team) in enumerate(tree[1]):
        above = teams[team] if 0 <= team < len(teams) else None
        key_id, _ = ledger.create_key(f"k{number}", budget_usd=budget_usd, period=period, team=above)
        keys.append(key_id)
        budgets[f"k{number}"] = budget_usd
    charged: dict[str, int] = {}
    for what, n, amount, other in steps:
        key_id, request_id = keys[n % len(keys)], f"r{n}"
        if what == "reserve":
            ledger.reserve(
                key_id, request_id, [amount, other], owner=f"o{n % 2}", likely_usd=[other] * 2, **LIFETIME
            )
        elif what == "extend":
            ledger.extend(request_id, amount, likely_usd=other)
        elif what == "settle":
            settled = ledger.settle(request_id, amount, disputed_usd=other)
            if settled.charged_usd is not None:
                charged[request_id] = round(settled.charged_usd * PICO)
        elif what == "group":  # as an ingress sends it, through what is read ahead
            caller = Caller(key_id, changes=ledger.key_row(key_id)["changes"])
            group = [Reservation(f"g{n}-{k}", caller, (amount / 4,), owner="o0") for k in range(4)]
            group.append(Extension(f"g{n}-0", caller, other, 1))
            group += [Settlement(f"g{n}-{k}", caller, other) for k in (0, 0, 1)]
            asyncio.run(bookkeeper.write(group))
        elif what == "die":
            ledger.bury(f"o{n % 2}")
        elif what == "later":
            ledger.end_overdue(time.time() + 1_000)
        elif what == "forget":
            ledger.forget_calls(-1e12)
        else:
            ledger.change_key(key_id, team=teams[n % len(teams)])
        for one in (*ledger.list_teams(), *ledger.list_keys()):
            budget_usd = budgets[one.name]
            used = round(one.spent_usd * PICO) + round(one.reserved_usd * PICO)
            assert budget_usd is None or used <= round(budget_usd * PICO), (one.name, what)
        assert check_books(home / LEDGER_FILE).faults == ()
    for owner in ("o0", "o1"):
        ledger.bury(owner)
    assert all(not reserved for _, reserved in books(ledger).values())
    ledger.close()


def test_64_clients_at_once_stay_within_every_budget_to_the_picodollar(tmp_path, either_store):
    """Through four bookkeepers of one ledger where it is on PostgreSQL: each of them its own connection."""
    ledger = Ledger(tmp_path / LEDGER_FILE)
    most = {"all": 2.0, "lab": 1.2, "ann": 0.5, "bob": 0.9, "eve": 1.5}
    ledger.create_team("all", budget_usd=most["all"], period="total")
    ledger.create_team("lab", budget_usd=most["lab"], period="total", parent="all")
    inside = {"ann": "lab", "bob": "lab", "eve": "all"}
    keys = {
        name: ledger.create_key(name, team=team, budget_usd=most[name], period="total")[0]
        for name, team in inside.items()
    }
    names = [*keys]
    config = ServeConfig(home=tmp_path, access="keys")
    bookkeepers = [Bookkeeper(config) for _ in range(4)]
    told: dict[str, list[int]] = {name: [] for name in names}
    over = []
    at_work = threading.Event()
    at_work.set()

    async def client(bookkeeper, number):
        rng, name = random.Random(number), names[number % 3]
        caller = Caller(keys[name])
        for call in range(12):
            request_id = f"{number}-{call}"
            (got,) = await bookkeeper.write([Reservation(request_id, caller, (0.02,), owner="o")])
            if isinstance(got.grant, Refusal):
                assert got.grant.code == "insufficient_quota"
                continue
            await asyncio.sleep(0)
            cost = rng.randrange(1, 2 * 10**10)
            (done,) = await bookkeeper.write([Settlement(request_id, caller, cost / PICO)])
            assert round(done.charged_usd * PICO) == cost
            told[name].append(cost)

    def serve(bookkeeper, numbers):
        async def go():
            await asyncio.gather(*(client(bookkeeper, number) for number in numbers))

        asyncio.run(go())

    def watch():
        looking = Ledger(tmp_path / LEDGER_FILE)
        while at_work.is_set():
            for name, (spent, reserved) in books(looking).items():
                if spent + reserved > round(most[name] * PICO):
                    over.append((name, spent, reserved))
            time.sleep(0.02)

    threads = [
        threading.Thread(target=serve, args=(one, range(64)[place::4]))
        for place, one in enumerate(bookkeepers)
    ]
    watcher = threading.Thread(target=watch)
    for thread in (*threads, watcher):
        thread.start()
    for thread in threads:
        thread.join()
    at_work.clear()
    watcher.join()
    assert over == []
    sums = {name: sum(costs) for name, costs in told.items()}
    sums["lab"] = sums["ann"] + sums["bob"]
    sums["all"] = sums["lab"] + sums["eve"]
    assert books(ledger) == {name: (spent, 0) for name, spent in sums.items()}
    # They wanted some 7 dollars. Refused while others were open, they left a rest, which one takes now.
    while isinstance(ledger.reserve(keys["eve"], f"rest{sums['all']}", [0.02], **LIFETIME), Grant):
        sums["all"] += 2 * 10**10
    assert most["all"] - 0.02 < sums["all"] / PICO <= most["all"]
    assert check_books(tmp_path / LEDGER_FILE).faults == ()


def test_the_command_line_makes_changes_and_lists_teams(tmp_path):
    def run(*words):
        done = CliRunner().invoke(app, [*words, "--home", str(tmp_path)], env={"COLUMNS": "80"})
        if done.exit_code and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    run("teams", "create", "all", "--budget-usd", "9")
    run("teams", "create", "lab", "--parent", "all", "--period", "day", "--budget-usd", "2")
    run("keys", "create", "ann", "--team", "lab", "--budget-usd", "1", "--requests-per-minute", "5")
    run("teams", "set", "lab", "--budget-usd", "3")
    run("keys", "set", "ann", "--clear", "budget-usd", "--operator")
    (_, lab) = map(json.loads, run("teams", "list", "--json").splitlines())
    assert (lab["parent"], lab["budget_usd"], lab["period"], lab["keys"]) == ("all", 3.0, "day", 1)
    (ann,) = map(json.loads, run("keys", "list", "--json").splitlines())
    assert (ann["team"], ann["budget_usd"], ann["requests_per_minute"]) == ("lab", None, 5)
    assert ann["operator"] is True
    shown = run("teams", "list")
    assert "lab" in shown
    assert max(map(len, shown.splitlines())) <= 80
    for wrong in (["keys", "set", "ann"], ["keys", "set", "ann", "--clear", "period"]):
        with pytest.raises(InputError, match=r"nothing is to be|is no limit"):
            run(*wrong)
    run("keys", "revoke", "ann")
    run("teams", "remove", "lab")
    assert [json.loads(line)["name"] for line in run("teams", "list", "--json").splitlines()] == ["all"]
