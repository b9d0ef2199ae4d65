"""The program that Ray Serve starts as HAProxy: corrects Ray's configuration, then becomes HAProxy.

Ray has no settings for most of what is corrected here, but one for the program that it starts. Ray starts the
program again for each change of the replicas, so this file is fast and uses only the standard library:
``launcher.py REAL_HAPROXY FOLDER -f CONFIGURATION ...``. ``FOLDER`` holds the error replies that
``serve.front.haproxy.write_launcher`` wrote.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import sys
from pathlib import Path

ALONE = "alone"  # a file: this machine is the whole cluster
FRONT_SECRET, PEER_HEADER = "LEEROO_FRONT_SECRET", "x-leeroo-peer"  # as serve/http/client_address.py has them
STATE = "front.json"  # who runs here; beside Ray's configuration
_PR_SET_PDEATHSIG = 1
_REUSE = re.compile(r"http-reuse \w+")
_SECTION = re.compile(r"(global|defaults|frontend|backend|listen)\b")
_BIND = re.compile(r"^ *bind .*$", re.MULTILINE)
_SERVER = re.compile(r"^ *server ", re.MULTILINE)
_LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|::1|localhost):\d+")
#: Ray's ports for whoever watches it. They listen on every address, and may be left out: what they tell is in
#: Ray's own metrics too.
_WATCHED = ("frontend prometheus", "listen stats")
#: A connection on which no whole request has begun by then is closed, and nobody changes to HTTP/2 on it,
#: which has no such limit.
MOST_HEADERS_S = 20


def correct(text: str, folder: Path, most_headers_s: int = MOST_HEADERS_S, secret: str | None = None) -> str:
    """Return Ray's configuration, corrected.

    Errors have OpenAI's format, headers have a time limit, clients that hang up are noticed, and only the
    owner may use HAProxy's admin socket. If HAProxy listens on the loopback address, or this machine is the
    whole cluster, only the endpoint's port is open. Clients' addresses are passed on with ``secret``.

    Raises:
        ValueError: the configuration does not look like that of Ray 2.60.
    """
    sections = _split(text)
    front = sections.get("frontend http_frontend", [])
    bound = [line.split()[1] for line in front if line.split()[:1] == ["bind"]]
    if len(bound) != 1 or "defaults" not in sections or "backend default_backend" not in sections:
        raise ValueError("this is no configuration as Ray Serve 2.60 makes it")
    if _LOOPBACK.fullmatch(bound[0]) or (folder / ALONE).exists():
        for name in _WATCHED:
            sections.pop(name, None)
    lines = [
        line
        for line in sections["defaults"]
        # With requests spliced a client that hangs up is not seen where its body came after its headers.
        if line.split()[:1] != ["errorfile"] and line.split() != ["option", "splice-request"]
    ]
    lines += [f"    timeout http-request {most_headers_s}s", "    option disable-h2-upgrade"]
    lines += [f"    errorfile {file.stem} {file}" for file in sorted(folder.glob("*.http"))]
    sections["defaults"] = lines
    if secret is not None:  # who asks is told to the ingresses, which believe it of nobody else
        at = next(place for place, line in enumerate(front) if line.split()[:1] == ["bind"])
        front.insert(at + 1, f'    http-request set-header {PEER_HEADER} "{secret} %[src]"')
    gone = f"status 503 content-type application/json file {folder / 'gone.json'} hdr Retry-After 5"
    sections["backend default_backend"] = [f"    http-request return {gone}"]
    # On a connection that was used before, HAProxy tells of a server's death by closing the client's alone.
    for name, lines in sections.items():
        sections[name] = [_REUSE.sub("http-reuse never", line) for line in lines]
    sections["global"] = [
        line.replace(" mode 666 ", " mode 600 ")
        for line in sections["global"]
        if line.split()[:2] != ["log", "127.0.0.1:514"]  # nobody listens there
    ]
    return (
        "\n".join(line for name, lines in sections.items() for line in ([name] if name else []) + lines)
        + "\n"
    )


def _split(text: str) -> dict[str, list[str]]:
    """Return the lines of each section, without comments."""
    sections: dict[str, list[str]] = {"": []}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.strip().startswith("#"):
            continue
        if _SECTION.match(line):
            name = line.strip()
            sections[name] = []
        else:
            sections[name].append(line)
    return sections


def keep_servers(corrected: str, directory: Path) -> str:
    """Return a configuration that contains the replicas.

    A restarted manager of Ray's knows none at first; the last configuration for the same address does.
    """
    last = directory / "last.cfg"
    if _SERVER.search(corrected):
        last.write_text(corrected, encoding="utf-8")
    elif last.exists():
        known = last.read_text(encoding="utf-8")
        if _BIND.findall(known) == _BIND.findall(corrected):
            return known
    return corrected


def main() -> None:
    """Correct the configuration, have a keeper watch, then become HAProxy."""
    binary, folder, *options = sys.argv[1:]
    if "-f" in options:
        path = Path(options[options.index("-f") + 1])
        corrected = correct(
            path.read_text(encoding="utf-8"), Path(folder), secret=os.environ.get(FRONT_SECRET)
        )
        if "-c" not in options:
            if "-sf" not in options:
                corrected = keep_servers(corrected, path.parent)
                options += _predecessor(binary, path)
            elif _SERVER.search(corrected):
                keep_servers(corrected, path.parent)
            _tell_keeper(path.parent, [binary, "-db", "-f", str(path), "-dR"])
        path.write_text(corrected, encoding="utf-8")
    with contextlib.suppress(OSError):  # it leads a session already
        os.setsid()  # Ctrl-C is for whoever serves, not for HAProxy
    os.execv(binary, [binary, *options])


def _predecessor(binary: str, path: Path) -> list[str]:
    """Return the options that take the place of an HAProxy which has lost its manager."""
    with contextlib.suppress(OSError, ValueError):
        before = json.loads((path.parent / STATE).read_text())["haproxy"]
        words = Path("/proc", str(before), "cmdline").read_bytes().split(b"\0")
        if words[0] == os.fsencode(binary) and os.fsencode(path) in words:
            return ["-sf", str(before), "-x", str(path.parent / "admin.sock")]
    return []


def _tell_keeper(directory: Path, command: list[str]) -> None:
    """Write down who runs, and start a keeper where none does."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an old kernel: HAProxy ends with its manager, and comes back with the next one
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        return
    manager = os.getppid()
    raylet = int(Path("/proc", str(manager), "stat").read_text().rpartition(")")[2].split()[1])
    state = {"haproxy": os.getpid(), "manager": manager, "raylet": raylet, "command": command}
    fresh = directory / f"{STATE}.{os.getpid()}"
    fresh.write_text(json.dumps(state))
    fresh.replace(directory / STATE)
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    with open(directory / "keeper.log", "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    keeper = Path(__file__).with_name("keeper.py")
    os.execv(sys.executable, [sys.executable, "-IS", str(keeper), str(directory)])


if __name__ == "__main__":
    main()
