"""The ledger on PostgreSQL: shared by bookkeepers, killed in the middle, moved there, and out of reach."""

import asyncio
import json
import multiprocessing
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from serve.config import ServeConfig
from serve.ledger.audit import check_books
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Explored, Refusal, Reservation, Settlement, TrafficRecord
from serve.ledger.moving import move_ledger
from serve.ledger.store.disks import NETWORK_KINDS, find_mount, refuse_network_disk
from serve.ledger.store.place import ledger_place, postgres_place
from serve.ledger.store.tables import FORMAT
from warehouse import InputError, LedgerAwayError, LeerooError

PICO = 10**12


@pytest.fixture
def url(postgres, tmp_path):
    return postgres.url(tmp_path)


@pytest.fixture
def place(url):
    return postgres_place(url, "the test")


def run_command(*words, url=None):
    """Return the exit code, and what was said, as the program's entry puts it."""
    done = CliRunner().invoke(app, [*words], env={"LEEROO_LEDGER": url, "COLUMNS": "200"})
    if isinstance(done.exception, LeerooError):
        return done.exception.exit_code, f"{done.output}{done.exception}"
    return done.exit_code, done.output


# Several bookkeepers.


def work(home, ledger, caller, seed, seconds, told):
    """Reserve and settle without end, some of it twice; tell what was charged."""
    bookkeeper = Bookkeeper(ServeConfig(home=Path(home), access="keys", ledger=ledger, explore_usd_per_day=1))
    rng = random.Random(seed)

    async def go():
        ends, n = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            n += 1
            ids = [f"{seed}-{n}-{k}" for k in range(8)]
            reserve = [Reservation(name, caller, (0.01,), owner=f"o{seed}", explores=True) for name in ids]
            done = await bookkeeper.write([*reserve, *reserve[:3]])
            granted = [e for e, one in zip(ids, done, strict=False) if not isinstance(one.grant, Refusal)]
            costs = {name: rng.randrange(1, 10**10) / PICO for name in granted}
            settle = [Settlement(i, caller, c, explored=Explored("a", 0.0, c)) for i, c in costs.items()]
            settled = await bookkeeper.write([*settle, *settle])
            for entry, one, again in zip(settle, settled, settled[len(settle) :], strict=False):
                assert one == again
                told.send((entry.request_id, round(one.charged_usd * PICO)))

    asyncio.run(go())
    told.send(None)


def start(home, place, caller, seed, seconds):
    receive, send = multiprocessing.Pipe(duplex=False)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=work, args=(str(home), place.shown, caller, seed, seconds, send))
    process.start()
    send.close()
    return process, receive


def read_all(receive):
    told = {}
    while True:
        try:
            one = receive.recv()
        except EOFError:
            return told, False
        if one is None:
            return told, True
        told[one[0]] = one[1]


def test_two_bookkeepers_on_two_nodes_and_one_of_them_killed(tmp_path, place):
    ledger = Ledger(place)
    key_id, _ = ledger.create_key("ann", budget_usd=1.5, period="total", explore_usd_per_day=0.5)
    caller = Caller(key_id, explore_usd_per_day=0.5)
    nodes = [start(tmp_path / f"node{n}", place, caller, n, 2.5) for n in range(2)]
    told = {}
    readers = [
        threading.Thread(target=lambda r=r, n=n: told.update({n: read_all(r)}))
        for n, (_, r) in enumerate(nodes)
    ]
    for reader in readers:
        reader.start()
    while nodes[0][0].is_alive() and 0 not in told and not ledger.list_keys()[0].requests > 40:
        time.sleep(0.01)
    most = 0.0
    os.kill(nodes[0][0].pid, signal.SIGKILL)  # with all that it held: its lock too
    while nodes[1][0].is_alive() and 1 not in told:
        (key,) = ledger.list_keys()
        most = max(most, key.spent_usd + key.reserved_usd)
        explored = ledger.exploring.spent_usd()
        assert explored.get(key_id, 0) <= explored.get("", 0) <= 1
        assert explored.get(key_id, 0) <= 0.5
        time.sleep(0.05)
    for reader, (process, _) in zip(readers, nodes, strict=True):
        reader.join()
        process.join()
    assert told[1][1], "the other one has not worked to its end"
    assert most <= 1.5
    ledger.bury("o0")  # what the dead one left open is charged as likely: nothing, here
    (key,) = ledger.list_keys()
    assert key.reserved_usd == 0
    charged = told[0][0] | told[1][0]
    kept = {row["request_id"]: row["cost"] for row in ledger._db.all("select * from calls")}
    assert {name: kept[name] for name in charged} == charged
    unheard = {name: pico for name, pico in kept.items() if name not in charged}
    assert all(name.startswith("0-") for name in unheard)  # settled by the dead one, who could not say so
    assert round(key.spent_usd * PICO) == sum(charged.values()) + sum(unheard.values())
    assert check_books(place).faults == ()


def test_a_server_killed_under_load_comes_back_and_nothing_is_wrong(tmp_path, place, postgres):
    ledger = Ledger(place)
    key_id, _ = ledger.create_key("ann", budget_usd=1e5, period="total")
    process, receive = start(tmp_path, place, Caller(key_id), 1, 4.0)
    told = {}
    reader = threading.Thread(target=lambda: told.update({0: read_all(receive)}))
    reader.start()
    for _ in range(2):
        before = ledger.list_keys()[0].requests
        while process.is_alive() and ledger.list_keys()[0].requests < before + 40:
            time.sleep(0.01)
        postgres.kill()
        postgres.start()
    reader.join()
    process.join()
    charged, is_whole = told[0]
    assert is_whole
    (key,) = ledger.list_keys()
    assert key.requests > 40  # one kill at least came while it worked, however slow the machine
    assert (round(key.spent_usd * PICO), key.reserved_usd) == (sum(charged.values()), 0)
    assert check_books(place).faults == ()


def test_a_node_that_went_silent_holds_nobody_back(place, monkeypatch):
    monkeypatch.setattr("serve.ledger.store.postgres_connection._SILENT_HOLDER_S", 0.3)
    silent = Ledger(place)
    other = Ledger(place)
    key_id, _ = other.create_key("ann", budget_usd=1.0)

    def stand_still():
        with silent.transaction():
            silent.reserve(key_id, "lost", [1.0], lifetime_s=9)
            silent.allowance_usd(key_id)  # by now it has been sent
            other.reserve(key_id, "r1", [0.9], lifetime_s=9)  # waits for the lock, and gets it

    with pytest.raises(LedgerAwayError):
        stand_still()
    assert other.list_keys()[0].reserved_usd == 0.9
    assert isinstance(silent.reserve(key_id, "lost", [1.0], lifetime_s=9), Refusal)  # over a new connection


def test_the_traffic_is_carried_by_one_node_at_a_time(url, place):
    from serve.ledger.store.postgres_store import PostgresStore

    carrier, other = Ledger(place), PostgresStore(url, "the other", lock_timeout_s=0.2)
    with carrier.carrying():
        carrier.create_key("ann")  # others write all the same
        with pytest.raises(LedgerAwayError, match="another process"), other.exclusively("carrying"):
            pytest.fail("two carry")
        other.write("delete from keys")
    with other.exclusively("carrying"):
        pass


# From the file to the database.


def fill(ledger):
    key_id, secret = ledger.create_key("ann", budget_usd=3.0, period="total", experts=["a"], operator=True)
    bookkeeper_row = TrafficRecord("r1", b'{"round": "x"}', bytes(range(256)), b"\0\1")
    for n in range(30):
        ledger.reserve(key_id, f"r{n}", [0.1], lifetime_s=900, owner="o", likely_usd=[0.07])
        if n % 3:
            ledger.settle(f"r{n}", n / 700, disputed_usd=n / 1e12)
    ledger.traffic.keep([bookkeeper_row])
    ledger.remember_expert(b"\xff\x00digest", "a")
    ledger.revoke_key(ledger.create_key("bob")[0])
    return key_id, secret


def test_a_ledger_is_moved_whole_and_its_home_says_so(tmp_path, url, place):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    key_id, _ = fill(ledger)
    before = ledger.list_keys()
    home = ("--home", str(tmp_path))
    code, said = run_command("ledger", "migrate", *home, url=url)  # this test holds it, as an endpoint does
    assert code == 2
    assert "has the ledger open" in said
    ledger.close()
    code, said = run_command("ledger", "migrate", *home, url=url)
    assert code == 0, said
    assert "Moved" in said
    assert "Charges and calls match" in said
    there = Ledger(place)
    assert there.list_keys() == before
    assert there.traffic.take(9) == [TrafficRecord("r1", b'{"round": "x"}', bytes(range(256)), b"\0\1")]
    assert there.expert_of(b"\xff\x00digest")[0] == "a"
    assert there.settle("r3", 0.05).charged_usd == 0.05  # open calls go on
    with pytest.raises(InputError, match="moved to"):
        Ledger(tmp_path / LEDGER_FILE)
    assert run_command("ledger", "migrate", *home, url=url)[0] == 3
    assert key_id in run_command("keys", "list", "--json", "--home", str(tmp_path / "other"), url=url)[1]
    named = ("--home", str(tmp_path / "third"), "--ledger", url)  # it has no password
    assert json.loads(run_command("ledger", "check", "--json", *named)[1])["faults"] == []
    assert run_command("keys", "revoke", "ann", *home, url=url)[0] == 0
    assert there.find_key(key_id).revoked


def test_a_move_that_was_broken_off_is_finished_and_another_ledger_is_never_written_over(tmp_path, place):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    fill(ledger)
    ledger.close()
    content = (tmp_path / LEDGER_FILE).read_bytes()
    move_ledger(tmp_path / LEDGER_FILE, place)
    (tmp_path / "ledger.moved").unlink()  # killed after the commit
    (tmp_path / LEDGER_FILE).write_bytes(content)
    assert move_ledger(tmp_path / LEDGER_FILE, place)["calls"] == 30
    (tmp_path / "ledger.moved").unlink()
    (tmp_path / LEDGER_FILE).write_bytes(content)
    there = Ledger(place)
    there.settle("r0", 0.01)
    with pytest.raises(InputError, match="holds a ledger already"):
        move_ledger(tmp_path / LEDGER_FILE, place)
    assert (tmp_path / LEDGER_FILE).exists()
    assert Ledger(tmp_path / LEDGER_FILE).list_keys()[0].requests == 30


def test_a_row_that_the_database_does_not_take_leaves_all_where_it_was(tmp_path, place):
    ledger = Ledger(tmp_path / LEDGER_FILE)
    fill(ledger)
    ledger.create_key("nul")
    # As a version before took it: SQLite does, PostgreSQL has no such text.
    ledger._db.write("update keys set name = ?", ("nul\0nul",))
    ledger.close()
    with pytest.raises(LeerooError, match="NUL"):
        move_ledger(tmp_path / LEDGER_FILE, place)
    assert Ledger(place).list_keys() == []
    assert len(Ledger(tmp_path / LEDGER_FILE).list_keys()) == 3


# What cannot be used.


@pytest.fixture
def deaf_port():
    """A port where somebody takes connections and never answers."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        yield deaf.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1:1", "127.0.0.1:{deaf}", "no-such-host.invalid"])
def test_a_database_out_of_reach_is_told_soon_and_without_its_password(tmp_path, host, deaf_port):
    url = f"postgresql://ann:hush-hush@{host.format(deaf=deaf_port)}/books?sslpassword=hush-hush"
    began = time.monotonic()
    for words in (("keys", "list"), ("ledger", "check")):
        code, said = run_command(*words, "--home", str(tmp_path), url=url)
        assert code == 6, said
        assert "ledger postgresql://ann@" in said
        assert "To fix it" in said
        assert "hush" not in said
    assert time.monotonic() - began < 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["mysql://a:hush@b/c", "hush", "postgresql://a:hush@b:port/c", "postgresql://[hush"]
)
def test_what_is_no_url_is_refused_and_not_repeated(tmp_path, url):
    code, said = run_command("keys", "list", "--home", str(tmp_path), url=url)
    assert code in {2, 6}, said
    assert "hush" not in said


def test_a_password_has_no_place_in_an_option_and_comes_from_the_environment(tmp_path, monkeypatch):
    named = "postgresql://ann@db/books?connect_timeout=3"
    secret = "postgresql://ann:hush@db/books?connect_timeout=3"
    monkeypatch.delenv("LEEROO_LEDGER", raising=False)
    with pytest.raises(InputError, match="can be read by others") as refused:
        ledger_place(tmp_path, secret)
    assert "hush" not in str(refused.value)
    assert ledger_place(tmp_path, named).url == named
    monkeypatch.setenv("LEEROO_LEDGER", secret)
    found = ledger_place(tmp_path, named)
    assert (found.url, found.shown, str(found)) == (secret, named, named)
    assert "hush" not in repr(found)
    assert ledger_place(tmp_path, "postgresql://other/books").url == "postgresql://other/books"


def test_a_newer_or_another_database_is_left_as_it_is(url, place):
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("create table keys (mine text)")
    with pytest.raises(InputError, match="tables of something else"):
        Ledger(place)
    with psycopg.connect(url) as connection:
        connection.execute("drop table keys")
    Ledger(place).close()
    with psycopg.connect(url) as connection:
        connection.execute("update about set told = '99' where name = 'format'")
    with pytest.raises(InputError, match="newer version"):
        Ledger(place)
    with psycopg.connect(url) as connection:
        connection.execute(f"update about set told = '{FORMAT}'")
        connection.execute("drop table calls")
    ledger = Ledger(place)
    with pytest.raises(LeerooError, match="other tables than ours"):
        check_books(place)
    ledger.close()


def mounts(tmp_path, kind):
    path = tmp_path / "mountinfo"
    shared = str(tmp_path / "a disk").replace(" ", "\\040")
    path.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"40 22 0:41 / {shared} rw shared:7 master:2 - {kind} server:/export rw,vers=4\n"
        f"41 40 0:42 / {shared}/local rw - tmpfs tmpfs rw\n"
    )
    return path


@pytest.mark.parametrize("kind", sorted(NETWORK_KINDS))
def test_a_file_on_a_disk_of_the_network_is_refused(tmp_path, kind):
    table = mounts(tmp_path, kind)
    with pytest.raises(InputError, match=f"disk of the network .{kind}") as refused:
        refuse_network_disk(tmp_path / "a disk" / "home" / LEDGER_FILE, table)
    assert "LEEROO_LEDGER" in str(refused.value)
    refuse_network_disk(tmp_path / "a disk" / "local" / LEDGER_FILE, table)
    refuse_network_disk(tmp_path / "a disk of mine" / LEDGER_FILE, table)
    refuse_network_disk(tmp_path / LEDGER_FILE, tmp_path / "no such table")


def test_this_machines_disks_are_found(tmp_path):
    where, kind = find_mount(tmp_path)
    assert tmp_path.is_relative_to(where)
    assert kind not in NETWORK_KINDS


def test_the_short_form_of_the_benchmark_finds_exact_books(tmp_path, place):
    from bench.ledger import Load, measure

    found = measure("postgres", place, tmp_path, Load(8, 1.0, 0.02, 2))
    assert found.is_exact
    assert found.requests > 8
