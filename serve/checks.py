"""Checks of an endpoint's settings, before anything starts."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from experts import load_catalogue
from serve.config import ServeConfig, is_loopback
from serve.ledger.alerts.webhook import read_webhook
from serve.ledger.store.place import check_store, ledger_place
from serve.router.champion import tracking_uri
from serve.texts import check_texts
from serve.tracing.places import trace_destinations
from warehouse import InputError

_LISTENING = "0A"  # as /proc/net/tcp words it


def check_settings(config: ServeConfig) -> None:
    """Look at what can be told from the settings alone, without Ray and without loading a router.

    Raises:
        InputError: it would be open to a network, there is no such catalogue or no trained router, a canary
            is to be judged that there is not, or alerts cannot be sent or signed as the environment says.
    """
    if config.access == "open" and not is_loopback(config.host):
        raise InputError(
            f"an endpoint open to all may not listen on {config.host}",
            fix="use --host 127.0.0.1, or make keys: leeroo keys create NAME",
        )
    if config.auto_promote and not 0 < config.canary_share < 1:
        raise InputError(
            f"nothing can be judged with a canary share of {config.canary_share:g}",
            where="--auto",
            fix="let the challenger decide some of the requests: --canary-share 0.1",
        )
    load_catalogue(config.catalogue)
    check_texts(config)
    read_webhook()
    if config.trace:
        trace_destinations(config)
    if config.router_dir is None:
        tracking_uri(config)


def check_machine(config: ServeConfig) -> None:
    """Look at what this machine must have for an endpoint here: a ledger that works, an address that is free.

    Raises:
        InputError: the ledger is lost, damaged or locked, or nobody may listen on the address.
    """
    check_store(ledger_place(config.home, config.ledger))
    check_address(config.host, config.port)


def check_address(host: str, port: int) -> None:
    """Try to listen on an address.

    Raises:
        InputError: it is taken, not this machine's, or not this user's to take.
    """
    where = f"--host {host} --port {port}"
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(f"no host is called {host!r}", where=where, fix="use --host 127.0.0.1") from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an ended connection does not count
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise _refusal(error, host, port, where) from None


def _refusal(error: OSError, host: str, port: int, where: str) -> InputError:
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port)
        what = f"port {port} is taken" + (f" by {holder}" if holder else " by another program")
        return InputError(what, where=where, fix="stop what runs there, or choose another --port")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return InputError(
            f"this user may not listen on port {port}", where=where, fix="choose a --port of 1024 or more"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return InputError(
            f"{host} is no address of this machine", where=where, fix="use --host 127.0.0.1, or one it has"
        )
    return InputError(
        f"nobody can listen there ({error.strerror})", where=where, fix="choose another address"
    )


def holder_of(port: int) -> str | None:
    """Return the name and id of the process that listens on a port; None where Linux does not tell us."""
    sockets = _listening_sockets(port)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # of another user, or gone
            if not sockets.isdisjoint(_open_files(process)):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return None


def _listening_sockets(port: int) -> set[str]:
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    return sockets


def _open_files(process: Path) -> Iterator[str]:
    for file in (process / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile by another thread
            yield os.readlink(file)
