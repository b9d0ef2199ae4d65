"""HAProxy as the front, without Ray: the configuration that Ray writes, corrected, in a real HAProxy."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from pipelines.ray_folders import find_left, remove_left
from serve.front import launcher
from serve.front.choice import choose_front, look_at_front
from serve.front.haproxy import find_haproxy, write_launcher
from tests.ports import free_port
from warehouse import InputError

HAPROXY = find_haproxy()
pytestmark = pytest.mark.skipif(isinstance(HAPROXY, str), reason=f"no HAProxy runs here: {HAPROXY}")


def as_ray_writes_it(directory, port, servers=(), host="127.0.0.1"):
    """Return the configuration for servers on these ports."""
    from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
    from ray.serve.config import HTTPOptions

    config = HAProxyConfig(
        http_options=HTTPOptions(host=host, port=port),
        is_head=True,
        socket_path=str(directory / "admin.sock"),
        server_state_base=str(directory),
        server_state_file=str(directory / "server-state"),
        metrics_socket_path=str(directory / "metrics.sock"),
        metrics_enabled=False,
        stats_port=free_port(),
        metrics_port=free_port(),
    )
    told = [ServerConfig(f"replica-{port}", "127.0.0.1", port) for port in servers]
    backends = {"http-leeroo": BackendConfig("http-leeroo", "/", app_name="leeroo", servers=told)}
    api = HAProxyApi(config, backends if servers else {}, config_file_path=str(directory / "haproxy.cfg"))
    config.has_received_routes = bool(servers)
    api._generate_config_file_internal()
    return Path(api.config_file_path).read_text()


@pytest.fixture
def folder(tmp_path_factory):
    """A short one: the paths of sockets are bounded."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="lt-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


class Replica(BaseHTTPRequestHandler):
    """An ingress as HAProxy sees it."""

    protocol_version = "HTTP/1.1"
    left = threading.Event()

    def do_GET(self):
        told = self.headers.get_all(launcher.PEER_HEADER) if self.path == "/who" else []
        self.answer(200, json.dumps(told).encode() if self.path == "/who" else b"{}")

    def do_POST(self):
        if self.path == "/dies":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif self.path == "/too-large":
            self.answer(413, b'{"error": {"code": "request_too_large"}}')
            self.close_connection = True
        elif self.path == "/works":
            self.rfile.read(int(self.headers["content-length"]))
            self.connection.settimeout(20)
            try:
                self.connection.recv(1)  # nothing, or that it was reset
            except TimeoutError:
                return
            except OSError:
                pass
            self.left.set()
            self.close_connection = True
        else:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):
                for n in range(4):
                    piece = f"data: {n}\n\n".encode()
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    time.sleep(0.3)
                self.wfile.write(b"0\r\n\r\n")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def replica():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replica)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def served(folder, replica):
    """HAProxy before a replica, as it is in an endpoint; the URL, and the folder."""
    port = free_port()
    write_launcher(folder, HAPROXY.path)
    rays = as_ray_writes_it(folder, port, [replica])
    text = launcher.correct(rays, folder, most_headers_s=2, secret="s3cret")
    (folder / "haproxy.cfg").write_text(text)
    process = subprocess.Popen([HAPROXY.path, "-db", "-f", folder / "haproxy.cfg"], stderr=subprocess.DEVNULL)
    wait_for(port)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_the_replica_is_told_who_asks_by_haproxy_alone(served):
    for headers in (
        [],
        [("x-leeroo-peer", "s3cret 10.0.0.1")],
        [("X-Leeroo-Peer", "a"), ("x-leeroo-peer", "b")],
    ):
        assert httpx.get(f"{served}/who", headers=headers).json() == ["s3cret 127.0.0.1"]


def wait_for(port, seconds=20):
    ends = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < ends, f"nobody listens on {port}"
        time.sleep(0.05)


@pytest.mark.parametrize("servers", [(), (30001,), (30001, 30002)])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_what_ray_writes_is_corrected_and_valid(folder, servers, host):
    write_launcher(folder, HAPROXY.path)
    raw = as_ray_writes_it(folder, 18080, servers, host)
    (folder / "haproxy.cfg").write_text(text := launcher.correct(raw, folder))
    bound = [line.split()[1] for line in text.splitlines() if line.split()[:1] == ["bind"]]
    assert len(bound) == (3 if host == "0.0.0.0" else 1), bound
    (folder / launcher.ALONE).touch()  # a cluster of one machine, open to a network or not
    assert launcher.correct(raw, folder).count("\n    bind ") == 1
    assert text.count("\n    server ") == len(servers)
    assert "mode 666" not in text
    assert "127.0.0.1:514" not in text
    checked = subprocess.run(
        [HAPROXY.path, "-c", "-f", folder / "haproxy.cfg"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_what_is_not_rays_is_refused(folder):
    with pytest.raises(ValueError, match="no configuration"):
        launcher.correct("global\ndefaults\nfrontend http_frontend\n", folder)


def test_its_own_errors_have_openais_shape(served):
    told = httpx.post(f"{served}/dies", json={})
    assert (told.status_code, told.json()["error"]["code"]) == (503, "restarting")
    assert told.headers["retry-after"] == "2"


def test_where_no_replica_is_the_endpoint_is_said_to_start_again(folder):
    for servers, code in (((free_port(),), "restarting"), ((), "shutting_down")):
        port = free_port()
        write_launcher(folder, HAPROXY.path)
        (folder / "haproxy.cfg").write_text(launcher.correct(as_ray_writes_it(folder, port, servers), folder))
        process = subprocess.Popen(
            [HAPROXY.path, "-db", "-f", folder / "haproxy.cfg"], stderr=subprocess.DEVNULL
        )
        try:
            wait_for(port)
            told = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={}, timeout=20)
            assert (told.status_code, told.json()["error"]["code"]) == (503, code)
            assert int(told.headers["retry-after"]) > 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_headers_that_come_byte_by_byte_end_with_the_connection(served, sent):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(served.rpartition(":")[2]))) as slow:
        slow.settimeout(0.2)
        slow.sendall(sent)
        reply = b""
        while time.monotonic() - began < 15:
            with contextlib.suppress(TimeoutError):
                got = slow.recv(4000)
                if not got:
                    break
                reply += got
            with contextlib.suppress(OSError):
                slow.sendall(b"x" if sent else b"")
    assert time.monotonic() - began < 10
    assert reply.startswith(b"HTTP/1.1 408 ") or not reply


def test_pieces_of_a_stream_come_as_they_are_made(served):
    at = []
    with httpx.stream("POST", f"{served}/stream", json={}) as reply:
        at.extend(time.monotonic() for line in reply.iter_lines() if line)
    assert len(at) == 4
    assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(at))


def test_a_refusal_before_the_body_is_passed_on(served):
    told = httpx.post(f"{served}/too-large", content=b"x" * 200_000)
    assert (told.status_code, told.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("size", [2, 150_000])
@pytest.mark.parametrize("later_s", [0.0, 0.05])
def test_a_client_that_leaves_is_seen_to_leave(served, size, later_s):
    """Clients of Python send the body in a piece of its own."""
    Replica.left.clear()
    with socket.create_connection(("127.0.0.1", int(served.rpartition(":")[2]))) as client:
        client.sendall(b"POST /works HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        time.sleep(later_s)
        client.sendall(b"x" * size)
        time.sleep(0.6)
    assert Replica.left.wait(5)


NODE = """
import subprocess, sys
processes = []
for line in sys.stdin:  # a node of Ray's: it starts managers, which start HAProxy
    code = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(999)"
    command = [sys.executable, "-c", code, *sys.argv[1:]]
    processes.append(subprocess.Popen(command, start_new_session=True))
    print(processes[-1].pid, flush=True)
"""


class Node:
    """What stands around HAProxy in a cluster: a node and its manager."""

    def __init__(self, directory, replica):
        self.directory, self.replica, self.port = directory, replica, free_port()
        program = write_launcher(directory, HAPROXY.path)
        command = [program, "-db", "-f", directory / "haproxy.cfg", "-dR"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODE, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.manage([replica])

    def manage(self, servers):
        """Have a manager start HAProxy, which knows these servers."""
        as_ray_writes_it(self.directory, self.port, servers)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.manager = psutil.Process(int(self.process.stdout.readline()))

    def haproxies(self):
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if str(self.directory / "haproxy.cfg") in line and str(HAPROXY.path) == line[0]:
                found.append(process)
        return [process for process in found if process.is_running()]

    def answers(self):
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/x", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


def soon(condition, seconds=10.0):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def node(folder, replica):
    node = Node(folder, replica)
    soon(node.answers, 20)
    yield node
    node.process.kill()
    soon(lambda: not node.haproxies(), 20)
    with contextlib.suppress(psutil.NoSuchProcess):
        node.manager.kill()


def has_ended(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_killed_haproxy_is_back_at_once(node):
    for _ in range(2):
        (killed,) = node.haproxies()
        killed.kill()
        soon(lambda: not node.answers())
        soon(node.answers)
        # Ray has to make a manager that knows it. That takes its place, though it knows no replica yet.
        soon(lambda: has_ended(node.manager))
        node.manage([])
        soon(lambda: [process.ppid() for process in node.haproxies()] == [node.manager.pid])
        assert node.answers()


def test_a_killed_manager_is_not_noticed(node):
    lost, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            lost.extend([] if node.answers() else [time.monotonic()])

    asking = threading.Thread(target=ask)
    asking.start()
    node.manager.kill()
    time.sleep(1)
    node.manage([])
    soon(lambda: len(node.haproxies()) == 1 and node.haproxies()[0].parent() == node.manager)
    time.sleep(0.5)
    stop.set()
    asking.join()
    assert lost == []


def test_a_haproxy_that_does_not_take_over_costs_no_manager(node):
    (serving,) = node.haproxies()
    failing = [
        node.directory / "haproxy",
        "-db",
        "-f",
        node.directory / "haproxy.cfg",
        "-dR",
        "-sf",
        "1",
        "-x",
    ]
    code = "import subprocess, sys, time; subprocess.call(sys.argv[1:]); time.sleep(99)"
    manager = subprocess.Popen([sys.executable, "-c", code, *failing, "/nowhere"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(2.5)
        assert manager.poll() is None
        assert node.haproxies() == [serving]
        assert node.answers()
    finally:
        manager.kill()
        manager.wait()


def test_haproxy_that_its_manager_ends_stays_away(node):
    (haproxy,) = node.haproxies()
    haproxy.kill()
    node.manager.kill()
    time.sleep(1.5)
    assert node.haproxies() == []


def test_nothing_is_left_when_the_node_is_killed(node):
    node.process.kill()
    soon(lambda: not node.haproxies())


def test_the_front_is_what_runs_here_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with choose_front("auto", 780) as front:
        assert front.kind == "haproxy"
        assert front.environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
        assert front.folder.stat().st_mode & 0o077 == 0
    assert not front.folder.exists()
    broken = tmp_path / "haproxy"
    broken.write_text("#!/bin/sh\nexit 126\n")
    broken.chmod(0o755)
    monkeypatch.setenv("LEEROO_HAPROXY", str(broken))
    with choose_front("auto", 780) as front:
        assert front.kind == "python"
        assert str(broken) in front.why
        assert front.environment == {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
    with pytest.raises(InputError, match="cannot be the front"):
        choose_front("haproxy", 780)
    assert "Python" in look_at_front().told


def test_two_endpoints_have_places_of_their_own():
    with choose_front("auto", 780) as one, choose_front("auto", 780) as other:
        shared = {name for name, value in one.environment.items() if other.environment[name] == value}
        assert not [name for name in shared if name.endswith(("_PORT", "_PATH", "_LOC", "_BASE", "_FILE"))]


def test_the_doctor_cleans_up_after_a_front_whose_process_is_gone(folder, replica):
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = Path(f"/tmp/leeroo-{gone.pid}-{os.urandom(4).hex()}")
    folder.rename(left)
    folder.mkdir()
    port = free_port()
    write_launcher(left, HAPROXY.path)
    (left / "haproxy.cfg").write_text(launcher.correct(as_ray_writes_it(left, port, [replica]), left))
    haproxy = subprocess.Popen([HAPROXY.path, "-db", "-f", left / "haproxy.cfg"], stderr=subprocess.DEVNULL)
    wait_for(port)
    found = [found for found in find_left() if found.path == left]
    assert len(found) == 1
    remove_left(found)
    assert haproxy.wait(5) == -signal.SIGKILL
    assert not left.exists()


INGRESS = """
import asyncio, sys, uvicorn
from serve.http.last_words import Witness
from serve.http.proxy_errors import _LAST_WORDS, ErrorShape
from serve.http.short_way import DESTINATION, ShortWay

async def handled_by_ray(scope, receive, send):
    DESTINATION.set(app)  # as an ingress does once it is built: what comes next goes past Ray
    await app(scope, receive, send)

async def app(scope, receive, send):
    await receive()
    kind = b"application/json" if scope["path"] == "/whole" else b"text/event-stream"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    pieces = 3 if scope["path"] == "/short" else 10_000
    for n in range(pieces):
        await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % n, "more_body": n < pieces - 1})
        await asyncio.sleep(0.02)

shaped = ErrorShape(ShortWay(handled_by_ray), witness=Witness(_LAST_WORDS))
uvicorn.run(shaped, port=int(sys.argv[1]), log_level="warning", lifespan="off")
"""


@pytest.fixture
def ingress(folder):
    """A process that sends streams, behind HAProxy; the URL, and the process."""
    port, own_port = free_port(), free_port()
    process = subprocess.Popen([sys.executable, "-c", INGRESS, str(own_port)])
    wait_for(own_port, 60)
    write_launcher(folder, HAPROXY.path)
    (folder / "haproxy.cfg").write_text(
        launcher.correct(as_ray_writes_it(folder, port, [own_port]).replace(" check", ""), folder)
    )
    haproxy = subprocess.Popen([HAPROXY.path, "-db", "-f", folder / "haproxy.cfg"], stderr=subprocess.DEVNULL)
    wait_for(port)
    yield f"http://127.0.0.1:{port}", process
    for started in (process, haproxy):
        started.kill()
        started.wait()


def test_streams_of_an_ingress_that_is_killed_end_with_an_error_event(ingress):
    url, process = ingress
    with httpx.Client() as client:
        for _ in range(3):  # the connections of streams that have ended are left alone
            assert client.post(f"{url}/short", json={}).text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    begun, told, lost = [], [], []

    def ask(path):
        text = ""
        try:
            with httpx.stream("POST", f"{url}/{path}", json={}, timeout=30) as reply:
                for piece in reply.iter_text():
                    begun.extend([] if text else [path])
                    text += piece
            told.append(text)
        except httpx.HTTPError:
            lost.append(path)

    clients = [threading.Thread(target=ask, args=(path,)) for path in ("stream",) * 4 + ("whole",)]
    for client in clients:
        client.start()
    soon(lambda: len(begun) == 5, 30)
    time.sleep(0.2)
    (witness,) = psutil.Process(process.pid).children()
    process.kill()
    for client in clients:
        client.join()
    assert lost == ["whole"]
    assert len(told) == 4
    for text in told:
        *pieces, error, done, _ = text.split("\n\n")
        assert len(pieces) > 1
        assert '"stream_cut"' in error
        assert done == "data: [DONE]"
    witness.wait(5)


def test_a_witness_that_is_killed_costs_no_stream(ingress):
    url, process = ingress
    for _ in range(2):
        assert httpx.post(f"{url}/short", json={}).text.endswith("data: 2\n\n")
        for witness in psutil.Process(process.pid).children():
            witness.kill()
