"""Alerts of budgets: each threshold once a period, through crashes and whatever the receiver does."""

import asyncio
import base64
import hashlib
import hmac
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.checks import check_settings
from serve.config import ServeConfig
from serve.ledger.alerts import sending
from serve.ledger.alerts.outbox import GIVE_UP_AFTER_S
from serve.ledger.alerts.sending import AlertSender
from serve.ledger.alerts.webhook import Webhook, read_webhook
from serve.ledger.audit import check_books
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Grant, Refusal, Reservation, Settlement
from warehouse import InputError

PICO = 10**12
LIFETIME = {"lifetime_s": 900.0}
CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # a busy machine is no fault
pytestmark = pytest.mark.usefixtures("either_store")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / LEDGER_FILE)


def spend(ledger, key_id, name, usd):
    ledger.reserve(key_id, name, [usd], **LIFETIME)
    ledger.settle(name, usd)


def noted(ledger):
    """What was noted: whose, what, at how many percent; in the order of the thresholds."""
    return sorted((one.name, one.event, one.percent) for one, _ in ledger.alerts.list_alerts())


class Receiver(BaseHTTPRequestHandler):
    """Takes alerts as its server's mood is: well, with errors, endlessly, or not at all."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        mood = self.server.moods.pop(0) if self.server.moods else "well"
        took = mood in ("well", "takes and dies", "endless")
        self.server.seen.append((dict(self.headers), json.loads(body), body, took))
        if mood == "stalls":
            self.server.stop_stalling.wait(20)
        if mood in ("dies", "takes and dies", "stalls"):
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(
            {"errs": 500, "refuses": 404, "redirects": 302}.get(mood, 204 if mood == "well" else 200)
        )
        self.send_header("location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        if mood == "endless":
            while not self.server.stop_stalling.wait(0.01):
                try:
                    self.wfile.write(b"x" * 1000)
                except OSError:
                    return

    def log_message(self, *_):
        pass


@contextmanager
def receiving(*moods):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    server.moods, server.seen, server.stop_stalling = list(moods), [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/hook?token=hush"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.stop_stalling.set()
        server.shutdown()
        server.server_close()


def test_thresholds_of_every_nested_budget_are_noted_once_a_period(ledger):
    ledger.create_team("lab", budget_usd=2.0)
    ann, _ = ledger.create_key("ann", team="lab", budget_usd=1.0, alert_at=[25, 50, 100])
    bob, _ = ledger.create_key("bob", team="lab", budget_usd=9.0, alert_at=[])
    spend(ledger, ann, "r1", 0.25)
    ledger.settle("r1", 0.25)
    assert noted(ledger) == [("ann", "reached", 25)]
    spend(ledger, ann, "r2", 0.249999999999)
    assert len(noted(ledger)) == 1  # a picodollar is missing
    spend(ledger, ann, "r3", 1e-12)
    spend(ledger, bob, "r4", 0.5)
    assert noted(ledger) == [("ann", "reached", 25), ("ann", "reached", 50), ("lab", "reached", 50)]
    for n in range(2):
        assert isinstance(ledger.reserve(ann, f"dear{n}", [5.0], **LIFETIME), Refusal)
        assert isinstance(ledger.reserve(bob, f"dear{n}", [5.0], **LIFETIME), Refusal)
    assert Counter(noted(ledger)).most_common(1)[0][1] == 1
    assert ("ann", "refused", 0) in noted(ledger)
    assert ("lab", "refused", 0) in noted(ledger)
    ledger.change_team("lab", budget_usd=1.25)  # eighty percent of it is spent
    assert ("lab", "reached", 80) in noted(ledger)
    assert not {one for one in noted(ledger) if one[0] == "bob"}
    for wrong in ([0], [101], [50.5], ["half"]):
        with pytest.raises(InputError, match="alert_at"):
            ledger.change_key("ann", alert_at=wrong)


OF_THRESHOLDS = st.fixed_dictionaries(
    {},
    optional={
        "budget_usd": st.none() | st.sampled_from([0.1, 0.5, 1.0, 3.0]),
        "period": st.sampled_from(["day", "month", "total"]),
        "alert_at": st.none() | st.lists(st.integers(1, 100), max_size=3),
    },
)


def test_a_change_tells_the_thresholds_that_are_passed_already_once(either_store):
    @settings(max_examples=10 if either_store else 50, **CALM)
    @given(
        st.lists(st.tuples(st.integers(0, 40), OF_THRESHOLDS), max_size=5), st.sampled_from(["key", "team"])
    )
    def told_once(steps, kind):
        with TemporaryDirectory() as home:
            ledger = Ledger(Path(home) / LEDGER_FILE)
            team = ledger.create_team("t")
            key_id, _ = ledger.create_key("k", team=team)
            expected = set()
            now = {"budget_usd": None, "period": "month", "alert_at": None}
            spent = dict.fromkeys(("day", "month", "total"), 0)

            def reach():
                budget = now["budget_usd"] and round(now["budget_usd"] * PICO)
                percents = (50, 80, 100) if now["alert_at"] is None else now["alert_at"]
                for percent in percents if budget else ():
                    if 0 < -(-budget * percent // 100) <= spent[now["period"]]:
                        expected.add((now["period"], percent))

            for n, (cents, change) in enumerate(steps):
                if isinstance(ledger.reserve(key_id, f"r{n}", [cents / 100], **LIFETIME), Grant):
                    ledger.settle(f"r{n}", cents / 100)
                    spent[now["period"]] += round(cents / 100 * PICO)
                reach()
                (ledger.change_key if kind == "key" else ledger.change_team)(kind[0], **change)
                now |= change
                reach()
                ledger.settle(f"r{n}", cents / 100)  # once more
                told = [
                    (one.period, one.percent)
                    for one, _ in ledger.alerts.list_alerts()
                    if one.event == "reached"
                ]
                assert sorted(told) == sorted(expected), steps

    told_once()


def test_only_a_budget_that_does_not_cover_a_request_refuses_it(either_store):
    bounds = st.lists(
        st.sampled_from([0.5, 2.0, 10_000.0, 10_001.0, 1e300, float("inf"), float("nan")]),
        min_size=1,
        max_size=4,
    )

    @settings(max_examples=10 if either_store else 60, **CALM)
    @given(bounds, st.none() | st.sampled_from([0.0, 1.0]), st.none() | st.sampled_from([0.0, 1.0]))
    def refused(bounds, own_usd, team_usd):
        with TemporaryDirectory() as home:
            ledger = Ledger(Path(home) / LEDGER_FILE)
            team = ledger.create_team("t", budget_usd=team_usd)
            key_id, _ = ledger.create_key("k", team=team, budget_usd=own_usd)
            reply = ledger.reserve(key_id, "r", bounds, **LIFETIME)
            limits = [one for one in (own_usd, team_usd) if one is not None]
            bounded = [one for one in bounds if one <= 10_000.0]
            if not limits or any(one <= min(limits) for one in bounded):
                assert isinstance(reply, Grant)
            else:
                assert reply.code == ("insufficient_quota" if bounded else "unbounded_cost")
            is_refused = isinstance(reply, Refusal) and bool(bounded)
            assert [event for _, event, _ in noted(ledger)] == ["refused"] * is_refused

    refused()


STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 400), st.booleans()), max_size=25)


def test_whatever_is_spent_each_threshold_is_noted_exactly_where_it_is_reached(either_store):
    @settings(
        deadline=None, max_examples=10 if either_store else 60, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(STEPS, st.integers(1, 10**12))
    def noted_once(steps, budget):
        with TemporaryDirectory() as home:
            ledger = Ledger(Path(home) / LEDGER_FILE)
            limits = {"budget_usd": budget / PICO, "period": "total", "alert_at": [1, 33, 50, 99, 100]}
            team = ledger.create_team("t", **limits)
            keys = [ledger.create_key(f"k{n}", team="t", period="total")[0] for n in range(3)]
            most = 0  # a late settlement may take back what was charged for a call that died

            def spent():
                row = ledger._db.one("select spent from spending where key_id = ?", (team,))
                return 0 if row is None else row["spent"]

            for number, (key, share, dies) in enumerate(steps):
                usd, name = budget * share // 1000 / PICO, f"r{number}"
                ledger.reserve(keys[key], name, [usd], owner=f"o{number}", likely_usd=[usd], **LIFETIME)
                if dies:
                    ledger.bury(f"o{number}")
                    most = max(most, spent())
                ledger.settle(name, usd)
                most = max(most, spent())
                reached = [percent for percent in (1, 33, 50, 99, 100) if 100 * most >= percent * budget]
                assert [one[2] for one in noted(ledger) if one[1] == "reached"] == reached
            ledger.close()

    noted_once()


def test_what_is_sent_can_be_checked_and_its_answer_is_not_read(ledger):
    ann, _ = ledger.create_key("ann", budget_usd=1.0)
    spend(ledger, ann, "r1", 0.5)
    key = base64.b64encode(b"a key of the receiver").decode()
    with receiving("endless") as server:
        sender = AlertSender(ledger.alerts, Webhook(server.url, f"whsec_{key}"))
        assert asyncio.run(sender.send_due()) == 1
        assert asyncio.run(sender.send_due()) == 0
    ((headers, told, body, _),) = server.seen
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(b"a key of the receiver", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert headers["webhook-id"] == told["id"]
    assert told["type"] == "budget.reached"
    assert told["data"] | {"period_start": ""} == {
        "kind": "key",
        "id": ann,
        "name": "ann",
        "period": "month",
        "period_start": "",
        "percent": 50,
        "budget_usd": 1.0,
        "spent_usd": 0.5,
    }
    assert "key ann has spent 50% of its budget" in told["text"]


def test_a_hostile_receiver_gets_it_again_under_the_same_id_until_it_takes_it(ledger, monkeypatch, caplog):
    monkeypatch.setattr("serve.ledger.alerts.outbox._FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(sending, "ANSWERS_WITHIN_S", 0.3)
    ann, _ = ledger.create_key("ann", budget_usd=1.0, alert_at=[50])
    spend(ledger, ann, "r1", 0.5)
    moods = ["stalls", "errs", "refuses", "redirects", "dies", "takes and dies"]
    with receiving(*moods) as server:
        sender = AlertSender(ledger.alerts, Webhook(server.url))
        while asyncio.run(sender.send_due()):
            pass
    assert len(server.seen) == len(moods) + 1
    assert len({headers["webhook-id"] for headers, *_ in server.seen}) == 1
    ((alert, state),) = ledger.alerts.list_alerts()
    assert (state, alert.attempts) == ("sent", len(moods) + 1)
    assert "hush" not in caplog.text  # the URL may be a secret


def test_who_does_not_take_it_for_days_is_given_up_and_waits_grow(ledger):
    ann, _ = ledger.create_key("ann", budget_usd=1.0, alert_at=[50])
    spend(ledger, ann, "r1", 0.5)
    now, waits = time.time(), []
    for _ in range(200):
        (alert,) = ledger.alerts.claim(10, 30.0, now)
        assert ledger.alerts.claim(10, 30.0, now + 29) == []  # nobody else sends it meanwhile
        if ledger.alerts.failed(alert, now):
            break
        began = now
        while not ledger.alerts.has_due(now):
            now += 1 if now - began < 10 else 30
        waits.append(now - began)
    assert waits == sorted(waits)
    assert 3_600 <= waits[-1] < 3_700
    assert now - alert.created_at > GIVE_UP_AFTER_S
    assert [state for _, state in ledger.alerts.list_alerts()] == ["given up"]


def test_without_a_webhook_an_alert_is_a_line_and_a_figure(tmp_path, ledger, caplog):
    ann, _ = ledger.create_key("ann", budget_usd=1.0, alert_at=[50])
    spend(ledger, ann, "r1", 0.5)
    bookkeeper = Bookkeeper(ServeConfig(home=tmp_path, access="keys"))

    async def go():
        await bookkeeper.check_health()
        while ledger.alerts.has_due():
            await asyncio.sleep(0.01)
        return (await bookkeeper.figures()).decode()

    figures = asyncio.run(go())
    assert 'leeroo_budget_alerts{event="reached",kind="key",percent="50",state="sent"} 1.0' in figures
    assert caplog.text.count("key ann has spent 50% of its budget") == 1


def test_a_webhook_that_is_none_is_refused(monkeypatch, tmp_path):
    assert read_webhook() is None
    for url in ("ftp://host/x", "host", "http://", "http://[::1"):
        monkeypatch.setenv("LEEROO_ALERT_WEBHOOK", url)
        with pytest.raises(InputError, match="no URL"):
            read_webhook()
    monkeypatch.setenv("LEEROO_ALERT_WEBHOOK", "https://host/x")
    assert read_webhook() == Webhook("https://host/x")

    @settings(**CALM)
    @given(st.binary(max_size=40), st.sampled_from(["", "=", "!!!!", " x", "-_"]), st.booleans())
    def a_key_is_whole_and_long_or_refused(key, more, is_coded):
        coded = f"whsec_{base64.b64encode(key).decode()}{more}" if is_coded else (key.hex() + more).strip()
        monkeypatch.setenv("LEEROO_ALERT_SECRET", coded)
        length = len(key) if is_coded else len(coded)
        if (is_coded and more) or 0 < length < 16 or (is_coded and not length):
            with pytest.raises(InputError, match="LEEROO_ALERT_SECRET") as refused:
                read_webhook()
            assert len(coded) < 8 or coded not in str(refused.value)
        else:
            assert read_webhook() == Webhook("https://host/x", coded)

    a_key_is_whole_and_long_or_refused()
    monkeypatch.setenv("LEEROO_ALERT_SECRET", "whsec_!!!!")
    with pytest.raises(InputError, match="LEEROO_ALERT_SECRET"):
        check_settings(ServeConfig(home=tmp_path, access="keys"))


# A bookkeeper that is killed.


def work(home, ledger_url, callers, seed, url):
    """Spend, and send what that reaches, until somebody kills this."""
    os.environ |= {"LEEROO_ALERT_WEBHOOK": url}
    sending.LOOK_EVERY_S, sending._LEASE_S, sending.ANSWERS_WITHIN_S = 0.02, 0.5, 0.4
    from serve.ledger.alerts import outbox

    outbox._FIRST_WAIT_S = 0.05
    bookkeeper = Bookkeeper(ServeConfig(home=Path(home), access="keys", ledger=ledger_url))
    rng = random.Random(seed)

    async def go():
        await bookkeeper.check_health()
        for n in range(10**6):
            entries = [(f"{seed}-{n}-{k}", caller) for k, caller in enumerate(callers)]
            done = await bookkeeper.write([Reservation(i, c, (0.001,), owner="o") for i, c in entries])
            granted = [e for e, one in zip(entries, done, strict=True) if not isinstance(one.grant, Refusal)]
            await bookkeeper.write([Settlement(i, c, rng.randrange(1, 10**9) / PICO) for i, c in granted])
            await asyncio.sleep(0.005)

    asyncio.run(go())


def test_through_kills_each_threshold_is_told_under_one_id_and_none_is_lost(tmp_path, ledger, either_store):
    """Killed while it spends and sends; with a receiver that stalls, errs and dies as it likes."""
    ledger.create_team("all", budget_usd=0.3, period="total", alert_at=[*range(5, 101, 5)])
    ids = [
        ledger.create_key(n, team="all", budget_usd=0.12, period="total", alert_at=[*range(10, 101, 10)])[0]
        for n in ("ann", "bob", "eve")
    ]
    callers = [Caller(key_id) for key_id in ids]
    rng = random.Random(7)
    kinds = ["well", "errs", "dies", "takes and dies", "stalls", "endless"]
    moods = rng.choices(kinds, [6, 2, 2, 2, 1, 1], k=60)
    place = None if either_store is None else either_store.url(tmp_path / LEDGER_FILE)
    spawn = multiprocessing.get_context("spawn")
    with receiving(*moods) as server:
        for seed in range(5):
            process = spawn.Process(target=work, args=(str(tmp_path), place, callers, seed, server.url))
            process.start()
            before, ends = len(server.seen), time.monotonic() + 30
            while len(server.seen) < before + 4 and time.monotonic() < ends:
                if not ledger.alerts.has_due(time.time() + 60) and ledger.list_teams()[0].spent_usd > 0.29:
                    break
                time.sleep(0.01)
            time.sleep(rng.random() * 0.3)
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        server.moods.clear()
        server.stop_stalling.set()
        sender = AlertSender(ledger.alerts, Webhook(server.url))
        while ledger.alerts.has_due(time.time() + 3600):
            ledger._db.write("update alerts set next_at = 0 where state = 'waiting'")  # its lease is over
            asyncio.run(sender.send_due())
    ledger.bury("o")
    found = [*ledger.list_teams(), *ledger.list_keys()]
    due = Counter()
    for one in found:
        step = 5 if one.name == "all" else 10
        spent, budget = round(one.spent_usd * PICO), round(one.budget_usd * PICO)
        due.update((one.name, at) for at in range(step, 101, step) if 100 * spent >= at * budget)
    told: dict[tuple[str, int], set[str]] = {}
    for _, body, *_ in server.seen:
        if body["type"] == "budget.reached":
            about = (body["data"]["name"], body["data"]["percent"])
            told.setdefault(about, set()).add(body["id"])
    assert len(due) > 8
    assert {about: len(known) for about, known in told.items()} == dict.fromkeys(due, 1)
    taken = {body["id"] for _, body, _, took in server.seen if took}
    assert {one.alert_id for one, _ in ledger.alerts.list_alerts()} == taken
    assert {state for _, state in ledger.alerts.list_alerts()} == {"sent"}
    assert check_books(tmp_path / LEDGER_FILE).faults == ()
