"""A Ray cluster of several machines on this one: each node is a network namespace with an address of its own.

What runs in a namespace has that node's ports, its raylet, its object store and its temporary folder, and
is known by the kernel, so that a kill ends all of it and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.ray_session import CLUSTER_SETTINGS, SERVING_SETTINGS

MISSING = "nodes of their own take network namespaces: root, and the program `ip`"
ROOT = Path(__file__).parents[1]
RAY = str(Path(sys.executable).with_name("ray"))
PORT = 6379
DASHBOARD = 8265
_STORE_BYTES = 80 * 2**20  # 75 MiB is the least that Ray takes


def can_make_nodes() -> bool:
    """Tell whether this user may make network namespaces here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"lrtry{os.getpid()}"
    if _ip("netns", "add", name, check=False):
        return False
    return _ip("netns", "del", name, check=False) == 0


class RayNodes:
    """Nodes that are started and killed as a test likes; ``close`` ends all of them.

    Attributes:
        host: this machine's own address among them, at which nodes reach what a test serves.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is that of all nodes, besides the project's own settings of a cluster."""
        self.environment = dict(environment or {})
        number = os.getpid() % 0x3FFF
        self._net = f"10.{64 + number // 256}.{number % 256}"
        self._bridge = f"lrb{os.getpid()}"
        self._numbers: dict[str, int] = {}
        self._wanted: dict[str, dict[str, Any]] = {}
        self._logs: dict[str, Path] = {}
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="lrn-", dir="/tmp"))  # paths of sockets have to be short
        self.host = f"{self._net}.254"
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.host}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    @property
    def address(self) -> str:
        """The cluster's address, for programs that run on one of its nodes."""
        return f"{self._net}.1:{PORT}"

    @property
    def dashboard(self) -> str:
        """Where jobs are submitted."""
        return f"http://{self._net}.1:{DASHBOARD}"

    def ip(self, node: str) -> str:
        """A node's own address."""
        return f"{self._net}.{self._numbers[node]}"

    def start(
        self,
        node: str,
        *,
        cpus: int,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        """Start a node, the head if it is the first; see :meth:`wait`."""
        self._wanted[node] = {"cpus": cpus, "resources": resources}
        number = self._numbers.setdefault(node, len(self._numbers) + 1)
        name, temporary = self._namespace(node), Path(tempfile.mkdtemp(prefix=f"{number}-", dir=self.folder))
        inner, outer = "eth0", f"lr{number}v{os.getpid()}"
        _ip("netns", "add", name)
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("link", "set", outer, "master", self._bridge, "up")
        for words in (
            ("addr", "add", f"{self.ip(node)}/24", "dev", inner),
            ("link", "set", inner, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", name, *words)
        command = [
            *(RAY, "start", "--block", "--disable-usage-stats", "--node-ip-address", self.ip(node)),
            *("--num-cpus", str(cpus), "--resources", json.dumps(dict(resources or {}))),
            *("--object-store-memory", str(_STORE_BYTES), "--temp-dir", str(temporary)),
            *("--labels", f"node={node}"),
        ]
        if number == 1:
            command += ["--head", "--port", str(PORT), "--dashboard-host", self.ip(node)]
        else:
            command += ["--address", self.address]
        self._logs[node] = temporary / "start.log"
        own = {"TMPDIR": str(temporary), **CLUSTER_SETTINGS, **SERVING_SETTINGS, **self.environment}
        self._started[node] = self.run(node, command, log=self._logs[node], environment=own)
        if number == 1:
            self.wait(node)

    def restore(self, *, cpus: int = 3) -> None:
        """See that the nodes "a" and "b" are there."""
        for node in ("a", "b"):
            if not self.processes(node):
                self.start(node, cpus=cpus)
        self.wait("a", "b")

    def wait(self, *nodes: str) -> None:
        """Wait until nodes take work."""
        deadline = time.monotonic() + 240
        while not set(nodes) <= set(self.alive()):
            for node in nodes:
                said = self._logs[node].read_text()
                assert time.monotonic() < deadline, said
                if self._started[node].poll() is not None:
                    assert "timed out during startup" in said, said  # Ray waits 30 s, however busy all is
                    self.kill(node)
                    self.start(node, **self._wanted[node])
            time.sleep(0.2)

    def run(
        self,
        node: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> subprocess.Popen[bytes]:
        """Start a program on a node."""
        known = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        known |= {"RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        with log.open("a") as output:
            return subprocess.Popen(
                ["ip", "netns", "exec", self._namespace(node), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=cwd,
                env=known | {"RAY_ADDRESS": self.address} | dict(environment or {}),
            )  # fmt: skip

    def alive(self) -> list[str]:
        """The nodes that the head counts as alive, by their names."""
        told = self._python(
            "import json, sys; from ray._raylet import GcsClient;"
            "nodes = GcsClient(address=sys.argv[1]).get_all_node_info().values();"
            "print('NODES', json.dumps([n.labels['node'] for n in nodes if n.state == 0]))"
        )
        found = [line.removeprefix("NODES ") for line in told.splitlines() if line.startswith("NODES ")]
        return list(json.loads(found[0])) if found else []

    def processes(self, node: str) -> list[int]:
        """What runs on a node."""
        done = subprocess.run(
            ["ip", "netns", "pids", self._namespace(node)], capture_output=True, text=True, check=False
        )
        return [int(word) for word in done.stdout.split()]

    def kill(self, node: str) -> None:
        """Kill all processes of a node, its raylet and workers among them, and take it off the net."""
        while pids := self.processes(node):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        _ip("netns", "del", self._namespace(node), check=False)
        _ip("link", "del", f"lr{self._numbers[node]}v{os.getpid()}", check=False)

    def unplug(self, node: str) -> None:
        """Take a node off the net; what runs on it runs on, and nobody hears of it."""
        _ip("-n", self._namespace(node), "link", "set", "eth0", "down")

    def close(self) -> None:
        """End all nodes, and remove what they left."""
        for node in reversed(self._numbers):
            self.kill(node)
        _ip("link", "del", self._bridge, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _namespace(self, node: str) -> str:
        return f"lr{os.getpid()}-{node}"

    def _python(self, code: str) -> str:
        log = self.folder / "asked.log"
        log.unlink(missing_ok=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run(next(iter(self._numbers)), [sys.executable, "-c", code, self.address], log=log).wait(60)
        return log.read_text()


def _ip(*words: Any, check: bool = True) -> int:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.returncode
