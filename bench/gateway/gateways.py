"""The gateways, each in processes and an environment of its own, all in front of the same API."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from bench.gateway.load import Address

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
EXPERTS = ("bench-small", "bench-large")
BUDGET_USD = 1_000.0
#: Pinned: 1.82.7, 1.82.8 and 1.107.0 held malware, and were taken back.
LITELLM = "1.108.7"
MODEL = "bench"
_START_S = 240.0
_STOP_S = 40.0
_PATH = "/v1/chat/completions"


class CannotStartError(Exception):
    """A gateway does not run here; the message says why."""


@dataclass(frozen=True)
class Gateway:
    """One way to the upstream: its name, where it is asked, and the processes that are its cost."""

    name: str
    address: Address
    roots: tuple[psutil.Process, ...] = ()


@dataclass(frozen=True)
class Ours:
    """Our endpoint as it runs: where, its home, and its process."""

    url: str
    home: Path
    root: psutil.Process

    def make_key(self, name: str) -> str:
        """Make a key with a budget; return its secret."""
        from serve.ledger.ledger import LEDGER_FILE, Ledger

        ledger = Ledger(self.home / LEDGER_FILE)
        try:
            return ledger.create_key(name, budget_usd=BUDGET_USD, period="total")[1]
        finally:
            ledger.close()

    def address(self, model: str, secret: str) -> Address:
        return Address(self.url + _PATH, model, secret)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(
    command: list[str], log: Path, *, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; then end it and all that it started."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    root = psutil.Process(process.pid)
    try:
        yield process
    finally:
        below = []
        with contextlib.suppress(psutil.NoSuchProcess):
            below = root.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
        finally:  # also where it is interrupted once more
            for left in (*below, root):
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
        process.wait(_STOP_S)


def _wait(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + _START_S
    while not is_ready():
        if process.poll() is not None or time.monotonic() > ends:
            last = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise CannotStartError(" / ".join(line.strip() for line in last) or "it did not start")
        time.sleep(0.2)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _clean_env(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LEEROO_"))}
    return kept | {"HF_HUB_OFFLINE": "1"} | more


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Gateway]:
    """The API itself, asked without a gateway."""
    port, log = free_port(), folder / "upstream.log"
    with _running([sys.executable, "-m", "bench.gateway.upstream", str(port)], log) as process:
        _wait(lambda: _listens(port), process, log)
        yield Gateway(
            "upstream", Address(f"http://127.0.0.1:{port}{_PATH}", MODEL), (psutil.Process(process.pid),)
        )


@contextlib.contextmanager
def passing(folder: Path, api: str) -> Iterator[Gateway]:
    """The plain ASGI application."""
    port, log = free_port(), folder / "passing.log"
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "bench.gateway.passing:app",
        "--port",
        str(port),
        "--no-access-log",
    ]
    with _running(command, log, env={**os.environ, "UPSTREAM": api}) as process:
        _wait(lambda: _listens(port), process, log)
        yield Gateway(
            "ASGI", Address(f"http://127.0.0.1:{port}{_PATH}", MODEL), (psutil.Process(process.pid),)
        )


@contextlib.contextmanager
def ours(folder: Path, api: str, embedder: str, *options: str) -> Iterator[Ours]:
    """``leeroo serve`` with two experts behind the API, a router that knows them, and further options."""
    home, port, log = folder / "home", free_port(), folder / "ours.log"
    home.mkdir()
    _make_champion(home, embedder)
    catalogue = folder / "experts.json"  # YAML too
    expert = {
        "backend": "openai",
        "model": MODEL,
        "base_url": f"{api}/v1",
        "api_key_env": "LEEROO_BENCH_API_KEY",
        "context_tokens": 131_072,
        "concurrency": 256,
        "max_tokens": 64,
        "timeout_s": 60,
    }
    prices = ({"usd_per_mtok_in": usd, "usd_per_mtok_out": usd} for usd in (0.1, 0.5))
    entries = [{"name": name, "price": price, **expert} for name, price in zip(EXPERTS, prices, strict=True)]
    catalogue.write_text(json.dumps({"experts": entries}))
    command = [str(BIN / "leeroo"), "serve", "--catalogue", str(catalogue), "--port", str(port)]
    for name in EXPERTS:
        command += ["--expert", name]
    env = _clean_env(LEEROO_HOME=str(home), LEEROO_BENCH_API_KEY="sk-bench-0123456789abcdef")
    with _running([*command, "--drain-s", "5", *options], log, env=env) as process:
        _wait(lambda: "Ready:" in log.read_text(), process, log)
        yield Ours(f"http://127.0.0.1:{port}", home, psutil.Process(process.pid))


def _make_champion(home: Path, embedder: str) -> None:
    """A router for which the one expert is better at some questions; what it learned does not matter here."""
    from bench.toy_outcomes import toy_outcomes
    from orchestrator.train import train_router
    from orchestrator.versions.mlflow_registry import log_version, set_champion

    n = 2_000
    texts = [f"Tell of the {'river' if i % 2 else 'engine'} number {i * 7}." for i in range(n)]
    chances = np.where((np.arange(n) % 2 == 0)[:, None], [0.3, 0.9], [0.8, 0.4])
    outcomes = toy_outcomes(texts, EXPERTS, chances, [1e-6, 5e-6])
    uri = f"sqlite:///{home / 'mlflow.db'}"
    set_champion(uri, log_version(train_router(outcomes, embedder=embedder).orchestrator, tracking_uri=uri))


def litellm_environment() -> Path:
    """Return the ``bin`` of an environment of LiteLLM's own, made when it is not there."""
    from experts.backends.bundled import default_cache_dir

    place = default_cache_dir() / f"bench-litellm-{LITELLM}"
    if not (place / "bin" / "litellm").exists():
        uv = str(BIN / "uv")
        for step in (
            ["venv", "--clear", "--python", sys.executable, str(place)],
            [
                "pip",
                "install",
                "--compile-bytecode",
                "--python",
                str(place),
                f"litellm[proxy]=={LITELLM}",
                "prisma",
            ],
        ):
            done = subprocess.run([uv, *step], capture_output=True, text=True)
            if done.returncode:
                raise CannotStartError(f"uv {step[0]}: {done.stderr.strip().splitlines()[-1]}")
    return place / "bin"


@contextlib.contextmanager
def litellm(folder: Path, api: str) -> Iterator[Gateway]:
    """LiteLLM's proxy, without keys, budgets or a database."""
    unkeyed = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}  # on 127.0.0.1, for a while
    with _litellm(folder, api, "litellm", unkeyed) as (url, root):
        yield Gateway("LiteLLM", Address(url + _PATH, MODEL), (root,))


@contextlib.contextmanager
def litellm_with_keys(folder: Path, api: str) -> Iterator[Gateway]:
    """LiteLLM's proxy with its keys and budgets, on a PostgreSQL of its own."""
    bin_ = litellm_environment()
    schema = next(bin_.parent.glob("lib/*/site-packages/litellm/proxy/schema.prisma"))
    env = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    # LiteLLM reaches its database by Prisma's engine, a program that this downloads.
    made = subprocess.run(
        [str(bin_ / "prisma"), "generate", "--schema", str(schema)], env=env, capture_output=True, text=True
    )
    if made.returncode:
        raise CannotStartError(
            f"Prisma's engine is not to be had: {(made.stderr or made.stdout).strip().splitlines()[-1]}"
        )
    master = f"sk-{secrets.token_hex(16)}"
    with _postgres(folder) as (database, postgres):
        more = {"DATABASE_URL": database, "LITELLM_MASTER_KEY": master}
        with _litellm(folder, api, "litellm-keys", more) as (url, root):
            request = urllib.request.Request(
                f"{url}/key/generate",
                json.dumps({"max_budget": BUDGET_USD, "models": [MODEL]}).encode(),
                {"authorization": f"Bearer {master}", "content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as reply:
                key = json.load(reply)["key"]
            yield Gateway("LiteLLM, keys", Address(url + _PATH, MODEL, key), (root, postgres))


@contextlib.contextmanager
def _litellm(folder: Path, api: str, name: str, more: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    bin_ = litellm_environment()
    port, log, settings = free_port(), folder / f"{name}.log", folder / f"{name}.json"
    params = {"model": f"openai/{MODEL}", "api_base": f"{api}/v1", "api_key": "sk-bench"}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": params}],
        "litellm_settings": {"telemetry": False},
    }
    settings.write_text(json.dumps(config))
    command = [str(bin_ / "litellm"), "--config", str(settings), "--host", "127.0.0.1", "--port", str(port)]
    env = _clean_env(
        PATH=f"{bin_}{os.pathsep}{os.environ['PATH']}",
        LITELLM_LOCAL_MODEL_COST_MAP="True",  # else it fetches a price list when it starts
        LITELLM_LOG="ERROR",
        **more,
    )
    with _running(command, log, env=env) as process:
        _wait(lambda: _listens(port), process, log)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    found = shutil.which("initdb") or max(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None
    )
    if found is None:
        raise CannotStartError("PostgreSQL is not installed (apt-get install postgresql)")
    bin_, port, log = Path(found).resolve().parent, free_port(), folder / "postgres.log"
    with tempfile.TemporaryDirectory() as data:
        as_user: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(data, "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        database = Path(data) / "db"
        made = subprocess.run(
            [*as_user, str(bin_ / "initdb"), "-D", str(database), "-U", "bench", "-A", "trust"],
            capture_output=True,
            text=True,
            cwd=data,
        )
        if made.returncode:
            raise CannotStartError(f"initdb: {made.stderr.strip().splitlines()[-1]}")
        command = [*as_user, str(bin_ / "postgres"), "-D", str(database), "-k", data, "-p", str(port)]
        with _running([*command, "-c", "listen_addresses=127.0.0.1"], log) as process:
            _wait(lambda: _listens(port), process, log)
            yield f"postgresql://bench@127.0.0.1:{port}/postgres", psutil.Process(process.pid)
