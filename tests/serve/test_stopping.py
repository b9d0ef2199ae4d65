"""Stopping, slow clients, foreign names and taken ports: what is said, and within which time."""

import asyncio
import json
import os
import socket
import sqlite3
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from fake_experts import LocalLedger, LocalRouter, ScriptedExpert

import pipelines.ray_session
from pipelines.cli import app
from serve.checks import check_address, check_machine, holder_of
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.http.body_limit import BodyLimit
from serve.http.local_names import is_local_name
from serve.http.proxy_errors import middlewares
from serve.ledger.drain import Drain
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Heartbeat, Refusal, Reservation, TrafficRecord
from serve.request.gateway import Gateway
from warehouse import InputError

BODY = {"messages": [{"role": "user", "content": "What is the capital of Peru?"}], "model": "smollm2-135m"}


class SlowExpert(ScriptedExpert):
    """Answers once it may."""

    def __init__(self, name):
        super().__init__(name)
        self.may = asyncio.Event()

    async def answer(self, ask, timeout_s):
        await self.may.wait()
        return await super().answer(ask, timeout_s)

    async def _rest(self):
        yield self._piece({"content": "one"})
        await self.may.wait()
        async for piece in super()._rest():
            yield piece


@pytest.fixture
def gateway(orchestrator, tmp_path):
    config = ServeConfig(home=tmp_path, access="open")
    return Gateway(
        config, LocalRouter(orchestrator), LocalLedger(config), {"smollm2-135m": SlowExpert("smollm2-135m")}
    )


def web(gateway, base_url="http://localhost"):
    transport = httpx.ASGITransport(app=create_api(gateway), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base_url)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_under_way_finishes_and_nobody_new_is_let_in(gateway, stream):
    async def go():
        async with web(gateway) as client:
            under_way = asyncio.create_task(
                client.post("/v1/chat/completions", json=BODY | {"stream": stream})
            )
            while not gateway.ledger.life.in_flight:
                await asyncio.sleep(0.01)
            gateway.ledger.life.drain(time.monotonic() + 30)
            late = await client.post("/v1/chat/completions", json=BODY)
            ready = await client.get("/readyz")
            gateway.experts["smollm2-135m"].may.set()
            return await under_way, late, ready

    answered, late, ready = asyncio.run(go())
    assert answered.status_code == 200
    assert "error" not in answered.text
    assert (late.status_code, late.json()["error"]["code"]) == (503, "shutting_down")
    assert late.headers["connection"] == "close"
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert gateway.ledger.life.in_flight == 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_does_not_finish_in_time_is_told_so(gateway, stream):
    async def go():
        async with web(gateway) as client:
            under_way = asyncio.create_task(
                client.post("/v1/chat/completions", json=BODY | {"stream": stream})
            )
            while not gateway.ledger.life.in_flight:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            gateway.ledger.life.drain(time.monotonic() + 0.3)
            async with asyncio.timeout(5):
                return await under_way

    reply = asyncio.run(go())
    if stream:
        *_, last, done = [line for line in reply.text.split("\n\n") if line]
        assert done == "data: [DONE]"
        assert json.loads(last.removeprefix("event: error\ndata: "))["error"]["code"] == "shutting_down"
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "shutting_down")
    assert gateway.ledger.life.in_flight == 0


def test_a_ledger_that_drains_lets_no_reservation_in_not_even_an_open_one(gateway):
    async def go():
        keeper = gateway.ledger._bookkeeper
        await keeper.drain(5)
        return await keeper.write([Reservation("r1", Caller(), (1.0,)), Heartbeat("i", 3)])

    reserved, pulse = asyncio.run(go())
    assert isinstance(reserved.grant, Refusal)
    assert reserved.grant.code == "shutting_down"
    assert pulse.is_draining
    assert 4 < pulse.ends_in_s <= 5


def test_stopping_waits_for_every_process_that_lives_and_for_no_other():
    drain = Drain()
    drain.pulse(Heartbeat("gone", 9), 0.0)
    drain.pulse(Heartbeat("a", 2), 10.0)
    drain.pulse(Heartbeat("idle", 0), 10.0)
    assert drain.begin(30, 10.5).under_way == 3  # an idle one may have let somebody in meanwhile
    for second, n in ((11.0, 2), (12.0, 1)):
        drain.pulse(Heartbeat("a", n), second)
        drain.pulse(Heartbeat("idle", 0), second)
    assert drain.begin(30, 12.5).under_way == 1
    pulse = drain.pulse(Heartbeat("a", 0), 13.0)
    assert (pulse.is_draining, pulse.ends_in_s) == (True, 27.5)
    assert drain.begin(30, 13.5).under_way == 0
    assert set(drain.begin(30, 13.5).owners) == {"gone", "a", "idle"}


# Who may ask an open endpoint.

LOCAL = ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"]
FOREIGN = [
    *("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evil@127.0.0.1", "127.0.0.1:80:80"),
    *("::1", "0.0.0.0", "", " ", "localhost:", "localhost:x", "localhost:123456", "[::1", "127.0.0.2"),
]


@pytest.mark.parametrize("host", [*LOCAL, *(f"{host}:8000" for host in LOCAL), *FOREIGN])
def test_an_open_endpoint_answers_to_this_machines_names_only(gateway, host):
    is_local = host.removesuffix(":8000") in LOCAL

    async def go():
        gateway.experts["smollm2-135m"].may.set()
        async with web(gateway) as client:
            paths = ("/v1/models", "/", "/metrics", "/healthz", "/v1/models/leeroo")
            told = [await client.get(path, headers={"Host": host}) for path in paths]
            return [*told, await client.post("/v1/chat/completions", json=BODY, headers={"Host": host})]

    for reply in asyncio.run(go()):
        assert reply.status_code == (200 if is_local else 403), reply.text
        assert is_local or reply.json()["error"]["code"] == "foreign_host"


@given(st.lists(st.binary(max_size=24), max_size=3))
def test_no_other_header_passes_for_a_local_name(hosts):
    scope = {"headers": [(b"host", host) for host in hosts]}
    if is_local_name(scope):
        (host,) = hosts
        assert host.decode().strip().lower().startswith(tuple(LOCAL))


# Slow clients.


def test_a_body_that_comes_byte_by_byte_is_refused_in_the_end():
    sent = []

    async def drip():
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        sent.append(message)

    limited = BodyLimit(None, max_bytes=1_000, patience_s=1.0, most_s=0.4)
    began = time.monotonic()
    asyncio.run(limited({"type": "http", "headers": []}, drip, send))
    assert sent[0]["status"] == 408
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("kind", ["h11", "httptools"])
def test_headers_that_come_byte_by_byte_end_with_the_connection(kind):
    import importlib

    import uvicorn

    assert middlewares()  # as Ray's proxy loads it
    module = importlib.import_module(f"uvicorn.protocols.http.{kind}_impl")
    base = module.H11Protocol if kind == "h11" else module.HttpToolsProtocol
    assert base.most_headers_s > 10
    short = type("Short", (base,), {"most_headers_s": 0.6})

    async def hello(scope, receive, send):
        await asyncio.sleep(1.0)  # an answer may take longer than headers
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    server = uvicorn.Server(uvicorn.Config(hello, port=0, http=short, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        address = server.servers[0].sockets[0].getsockname()
        with socket.create_connection(address) as silent, socket.create_connection(address) as dripping:
            silent.settimeout(5)
            dripping.settimeout(0.01)
            began = time.monotonic()
            assert silent.recv(1) == b""
            assert time.monotonic() - began < 3
            ended = False
            while not ended and time.monotonic() - began < 5:
                try:
                    dripping.sendall(b"G")
                    ended = dripping.recv(1) == b""
                except TimeoutError:
                    time.sleep(0.05)
                except OSError:
                    ended = True
            assert ended
        with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}", timeout=10) as client:
            assert [client.get("/").text for _ in range(2)] == ["ok", "ok"]  # on one connection
    finally:
        server.should_exit = True
        thread.join()


# Ports and ledgers that cannot be used, told before Ray starts.


def serve(home, *options):
    return CliRunner().invoke(app, ["serve", "--home", str(home), *map(str, options)])


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A home in which all is well up to the start of Ray, which must not come."""
    monkeypatch.setattr("serve.checks.tracking_uri", lambda config: "")
    monkeypatch.setattr(pipelines.ray_session, "ray_session", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(pipelines.ray_session, "joins_cluster", lambda: False)
    return tmp_path


def refusal(home, *options):
    began = time.monotonic()
    done = serve(home, *options)
    assert isinstance(done.exception, InputError), done.exception
    assert done.exception.exit_code == 2
    assert time.monotonic() - began < 5
    return str(done.exception)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_named_with_who_holds_it(trained, address):
    with socket.socket() as other:
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        told = refusal(trained, "--port", port)
    assert f"port {port} is taken by " in told
    assert f"(process {os.getpid()})" in told


def test_who_holds_a_port_is_found_while_its_files_come_and_go():
    """Of the process that is looked at, other threads close files meanwhile."""
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            files = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]
            for file in files:
                os.close(file)

    low = [os.open(os.devnull, os.O_RDONLY) for _ in range(400)]  # files that are looked at first
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for file in low:
            os.close(file)
        threads = [threading.Thread(target=churn) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            found = [holder_of(other.getsockname()[1]) for _ in range(30)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert all(one is not None and f"(process {os.getpid()})" in one for one in found)


def test_an_address_that_nobody_can_listen_on_is_refused(trained):
    assert "no address of this machine" in refusal(trained, "--host", "192.0.2.7")
    assert "no host is called" in refusal(trained, "--host", "no.such.host.invalid")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on every port")
def test_a_port_for_root_alone_is_refused(trained):
    assert "may not listen on port 80" in refusal(trained, "--port", 80)


def test_a_connection_that_has_ended_does_not_hold_its_port():
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = listening.accept()
        accepted.close()  # the server's end closes first: its port waits
        client.close()
    check_address("127.0.0.1", port)


def damage(path, how):
    ledger = Ledger(path)
    ledger.create_key("ann")
    for n in range(300):
        ledger.traffic.keep([TrafficRecord(f"r{n}", b"y" * 200)])
    ledger.wipe()
    ledger.close()
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "not a database":
        path.write_bytes(b"hello" * 1_000)
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        path.write_bytes(content[:4096] + bytes(len(content) - 8192) + content[-4096:])
    elif how == "without keys":
        path.unlink()
        sqlite3.connect(path).execute("create table other (x)")


@pytest.mark.parametrize("how", ["gone", "empty", "not a database", "cut", "flipped", "without keys"])
def test_a_ledger_that_is_lost_or_damaged_is_no_new_open_house(trained, how):
    damage(trained / LEDGER_FILE, how)
    told = refusal(trained, "--open")
    assert "ledger.db" in told
    assert ("lost" if how in {"gone", "empty", "without keys"} else "damaged") in told
    assert "To fix it" in told


def test_a_locked_ledger_is_said_soon(trained):
    holder = Ledger(trained / LEDGER_FILE)
    holder._db.write("begin exclusive")
    assert "locked" in refusal(trained)
    holder._db.write("rollback")
    check_machine(ServeConfig(home=trained, port=1 + 40_000))


def test_a_home_of_an_older_version_opens_and_its_books_add_up(tmp_path):
    db = sqlite3.connect(tmp_path / LEDGER_FILE)
    db.executescript(
        """
        create table keys (key_id text primary key, name text not null, secret_hash text not null unique,
          budget integer, period text not null, requests_per_minute integer, experts text, preset text,
          created_at real not null, revoked_at real);
        create table spending (key_id text not null, period_start text not null,
          spent integer not null default 0, reserved integer not null default 0,
          primary key (key_id, period_start)) without rowid;
        create table calls (request_id text primary key, key_id text not null, period_start text not null,
          reserved integer not null, cost integer, state text not null, expires_at real not null,
          created_at real not null);
        insert into keys values ('key-1', 'ann', 'digest', 1000, 'total', null, null, null, 1.0, null);
        insert into spending values ('key-1', 'ever', 500, 300);
        insert into calls values ('r1', 'key-1', 'ever', 250, 200, 'settled', 2.0, 1.0);
        insert into calls values ('r2', 'key-1', 'ever', 300, null, 'open', 2.0, 1.0);
        insert into calls values ('r3', 'key-1', 'ever', 300, null, 'expired', 2.0, 1.0);
        """
    )
    db.close()
    ledger = Ledger(tmp_path / LEDGER_FILE)
    check = ["ledger", "check", "--home", str(tmp_path)]
    done = CliRunner().invoke(app, check)
    assert done.exit_code == 0, done.output
    assert "Charges and calls match" in done.output
    assert (tmp_path / "ledger.keys").exists()  # from now on its loss is noticed
    ledger.end_overdue()
    assert ledger.list_keys()[0].reserved_usd == 0
    assert CliRunner().invoke(app, check).exit_code == 0
    ledger._db.write("update spending set spent = spent + 1")
    done = CliRunner().invoke(app, [*check, "--json"])
    assert done.exit_code == 1
    assert "a difference of $0.000000000001" in json.loads(done.output)["faults"][0]


def test_the_doctor_tells_of_the_books(tmp_path):
    from pipelines.diagnosis import find_books

    assert find_books(tmp_path) is None
    ledger = Ledger(tmp_path / LEDGER_FILE)
    key_id, _ = ledger.create_key("ann", budget_usd=1.0)
    ledger.reserve(key_id, "r1", [0.25], lifetime_s=9)
    ledger.settle("r1", 0.75)
    assert find_books(tmp_path).disputed_usd == 0.5
    done = CliRunner().invoke(app, ["doctor", "--home", str(tmp_path)], env={"COLUMNS": "200"})
    assert "match; $0.5 disputed with upstreams" in done.output
    ledger._db.write("update spending set reserved = 7")
    assert "a difference of" in find_books(tmp_path).faults[0]
    ledger.close()
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    assert "lost" in find_books(tmp_path).faults[0]


def test_what_a_command_writes_is_for_its_owner_alone(tmp_path, monkeypatch):
    from pipelines.cli import run_app

    home = tmp_path / "new" / "home"
    monkeypatch.setattr(sys, "argv", ["leeroo", "keys", "create", "ann", "--home", str(home)])
    before = os.umask(0o022)
    try:
        with pytest.raises(SystemExit):
            run_app(app)
    finally:
        os.umask(before)
    loose = [path for path in (home, *home.rglob("*")) if path.stat().st_mode & 0o077]
    assert loose == []
    assert (home / LEDGER_FILE).exists()
