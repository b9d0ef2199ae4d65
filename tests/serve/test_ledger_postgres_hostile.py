"""The ledger on PostgreSQL against a server, an operator and clocks that are not kind."""

import asyncio
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from cut_wire import CutWire
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.config import ServeConfig
from serve.ledger import moving
from serve.ledger.audit import check_books
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Grant, Reservation, Settlement
from serve.ledger.store.place import postgres_place
from warehouse import InputError, LedgerAwayError

PICO = 10**12
DAY_S = 86_400.0


@pytest.fixture
def place(postgres, tmp_path):
    return postgres_place(postgres.url(tmp_path), "the test")


@pytest.fixture
def server(postgres):
    """A connection of the operator's."""
    with psycopg.connect(postgres.database, autocommit=True) as connection:
        yield connection


def wait_for(what, within_s=10.0):
    ends = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < ends, "it does not come"
        time.sleep(0.01)


def _reserve_one(ledger, key_id, request_id, heard):
    heard.append(ledger.reserve(key_id, request_id, [0.25], lifetime_s=900))


def test_the_lock_is_given_back_before_the_disk_is_waited_for_and_the_caller_hears_after(place, server):
    """A copy that is not there stands for a disk that takes its time."""
    writer, other = Ledger(place), Ledger(place)
    key_id, _ = writer.create_key("ann", budget_usd=100.0)
    server.execute("alter system set synchronous_standby_names = 'nobody'")
    server.execute("select pg_reload_conf()")
    try:
        for number in range(1, 50):
            heard = []
            reserving = threading.Thread(target=_reserve_one, args=(writer, key_id, f"r{number}", heard))
            reserving.start()
            wait_for(lambda: other.list_keys()[0].reserved_usd == 0.25 * number)  # noqa: B023
            assert not server.execute("select 1 from pg_locks where locktype = 'advisory'").fetchall()
            time.sleep(0.2)
            if not heard:
                break  # else the server's processes have not all read their settings yet
        assert not heard
        assert reserving.is_alive()
    finally:
        server.execute("alter system reset synchronous_standby_names")
        server.execute("select pg_reload_conf()")
    reserving.join(10)
    assert isinstance(heard[0], Grant)


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation=serializable",
        "default_transaction_isolation='repeatable read'",
        "synchronous_commit=off",
        "default_transaction_deferrable=on",
    ],
)
def test_what_the_operator_sets_for_the_database_changes_nothing(postgres, server, place, setting):
    server.execute(f"alter database postgres set {setting}")
    try:
        key_id, _ = Ledger(place).create_key("ann", budget_usd=0.4, period="total")
        granted, done = [], []

        def reserve(number):
            ledger = Ledger(place)
            for n in range(25):
                name = f"{number}-{n}"
                if isinstance(ledger.reserve(key_id, name, [0.01], lifetime_s=900), Grant):
                    granted.append(name)
            ledger.close()
            done.append(number)

        threads = [threading.Thread(target=reserve, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 4, "one of them met an error"
        assert len(granted) == 40
        assert Ledger(place)._db.one("show synchronous_commit") == {"synchronous_commit": "on"}
    finally:
        server.execute("alter database postgres reset all")
    assert check_books(place).faults == ()


def test_who_stands_still_at_the_servers_end_is_given_up(place, postgres, monkeypatch):
    monkeypatch.setattr("serve.ledger.store.silence.SILENT_SERVER_S", 0.5)
    monkeypatch.setattr("serve.ledger.store.postgres_connection.CONNECT_WITHIN_S", 0.5)
    ledger = Ledger(place)
    key_id, _ = ledger.create_key("ann", budget_usd=1.0)
    serving = ledger._db.one("select pg_backend_pid() as pid")["pid"]
    began = time.monotonic()
    os.kill(serving, signal.SIGSTOP)  # another process of the server takes its place
    try:
        assert isinstance(ledger.reserve(key_id, "r1", [0.25], lifetime_s=900), Grant)
        serving_now = ledger._db.one("select pg_backend_pid() as pid")["pid"]
        for pid in (postgres.pid, serving_now):
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(LedgerAwayError, match="does not answer"):
            ledger.reserve(key_id, "r2", [0.25], lifetime_s=900)
    finally:
        for pid in (serving, serving_now, postgres.pid):
            os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - began < 10
    assert isinstance(ledger.reserve(key_id, "r2", [0.25], lifetime_s=900), Grant)
    assert ledger.list_keys()[0].reserved_usd == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_wire_that_breaks_anywhere_charges_nobody_twice_and_forgets_nothing(postgres, tmp_path, seed):
    here = tempfile.TemporaryDirectory(prefix="leeroo-wire-")  # a socket's path is short
    rng = random.Random(seed)
    wire = CutWire(postgres.folder, Path(here.name), rng)
    url = postgres.url(tmp_path)
    place = postgres_place(url.replace(quote(str(postgres.folder), safe=""), quote(here.name, safe="")), "it")

    def surely(do):
        for _ in range(200):
            try:
                return do()
            except LedgerAwayError:
                continue
        pytest.fail("it is never done")

    key_id, _ = Ledger(postgres_place(url, "it")).create_key("ann", budget_usd=1e3, period="total")
    caller = Caller(key_id, requests_per_minute=10**6)
    os.environ["LEEROO_LEDGER"] = place.url
    try:
        bookkeeper = surely(lambda: Bookkeeper(ServeConfig(home=tmp_path, access="keys", ledger=place.shown)))
    finally:
        del os.environ["LEEROO_LEDGER"]
    charged = 0

    async def work():
        nonlocal charged
        for n in range(30):
            ids = [f"{n}-{k}" for k in range(rng.randrange(1, 5))]
            done = await bookkeeper.write([Reservation(name, caller, (0.01,), owner="o") for name in ids])
            assert all(isinstance(one.grant, Grant) for one in done)
            costs = {name: rng.randrange(1, 10**10) for name in ids}
            settled = await bookkeeper.write([Settlement(i, caller, c / PICO) for i, c in costs.items()])
            assert [round(one.charged_usd * PICO) for one in settled] == list(costs.values())
            charged += sum(costs.values())

    asyncio.run(work())
    assert wire.cuts > 5
    (key,) = Ledger(postgres_place(url, "it")).list_keys()
    assert (round(key.spent_usd * PICO), key.reserved_usd) == (charged, 0)
    assert check_books(postgres_place(url, "it")).faults == ()
    wire.close()
    here.cleanup()


@pytest.mark.parametrize("is_late", [True, False])
def test_who_comes_while_a_ledger_is_moved_writes_nothing_into_what_is_left(
    place, tmp_path, monkeypatch, is_late
):
    """It waits for the file's lock, or (late) finds no file just before the mark says why."""
    path = tmp_path / LEDGER_FILE
    Ledger(path).close()
    copying, opening = threading.Event(), threading.Event()
    copy = moving._copy

    def copy_slowly(*words):
        copying.set()
        opening.wait(10)
        time.sleep(0.3)  # by now it waits for the lock
        return copy(*words)

    monkeypatch.setattr(moving, "_copy", copy_slowly)
    if is_late:
        monkeypatch.setattr(
            "serve.ledger.store.sqlite_store.refuse_network_disk",
            lambda _: mover.join() if threading.current_thread() is maker else None,
        )
    failed = []

    def make_key():
        copying.wait(10)
        opening.set()
        try:
            Ledger(path).create_key("lost")
        except InputError as error:
            failed.append(str(error))

    mover = threading.Thread(target=lambda: moving.move_ledger(path, place))
    maker = threading.Thread(target=make_key)
    mover.start()
    maker.start()
    maker.join()
    mover.join()
    assert len(failed) == 1
    assert "moved to" in failed[0]
    assert not path.exists()


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    skews_s=st.tuples(*[st.floats(-400, 400)] * 3),
    budget_usd=st.floats(0.01, 0.2),
)
def test_bookkeepers_whose_clocks_differ_exceed_no_budget_at_the_turn_of_a_day(
    postgres, seed, skews_s, budget_usd
):
    place = postgres_place(postgres.url(f"clocks {seed} {skews_s} {budget_usd}"), "the test")
    rng, ledgers = random.Random(seed), [Ledger(place) for _ in skews_s]
    key_id, _ = ledgers[0].create_key("ann", budget_usd=budget_usd, period="day")
    midnight = (time.time() // DAY_S) * DAY_S
    ids = []
    for n in range(40):
        ledger, skew_s = rng.choice(list(zip(ledgers, skews_s, strict=True)))
        if rng.random() < 0.6:
            ledger.reserve(
                key_id,
                f"r{n}",
                [rng.random() * 0.03],
                lifetime_s=60,
                now=midnight - 40 + 2 * n + skew_s,
                likely_usd=[0.01],
            )
            ids.append(f"r{n}")
        elif ids:
            ledger.settle(rng.choice(ids), rng.random() * 0.05)
        for row in ledger._db.all("select * from spending"):
            assert row["spent"] + row["reserved"] <= round(budget_usd * PICO) + 1
    assert check_books(place).faults == ()
    for ledger in ledgers:
        ledger.close()


@settings(max_examples=200, deadline=None)
@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=20),
    form=st.sampled_from(
        [
            "postgresql://ann:{}@host/books",
            "postgres://ann:{}@host:1,other:2/books?sslmode=disable",
            "postgresql://host/books?password={}",
            "postgresql://ann@host/books?user=x&sslpassword={}&a=b",
            "postgresql://host/books?oauth_client_secret={}",
            "postgresql://host/books?PassWord={}",
            "postgresql://host/books?pass%77ord={}",
        ]
    ),
    is_quoted=st.booleans(),
)
def test_no_password_is_shown_however_it_is_written(secret, form, is_quoted):
    written = quote(secret, safe="") if is_quoted else secret
    told = told_of(form.format(written), is_quoted)
    pieces = {secret, written, *(piece for piece in secret.replace("%", "@").split("@") if len(piece) > 6)}
    others = told_of(form.format("a"), True) + told_of(
        "postgresql://a@b@c", False
    )  # what is said in any case
    assert not [piece for piece in pieces if piece in told and piece not in others]


def told_of(url, is_right):
    try:
        place = postgres_place(url, "LEEROO_LEDGER")
    except InputError as refused:
        assert not is_right, "what is written as it should be is taken"
        return str(refused)
    assert place.url == url
    return f"{place} {place!r} {place.shown}"
