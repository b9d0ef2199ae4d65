"""Is anybody there? Asked before a library gets an address, for libraries wait minutes for a dead one."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from warehouse.errors import InputError

#: Seconds in which an address has to answer, name look-up included.
PATIENCE_S = 3.0

#: This machine is never asked for through a proxy, whatever the environment says of the web.
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
_PORTS = {"http": 80, "https": 443}


def exempt_loopback() -> None:
    """Keep the environment's proxies away from this machine's own addresses.

    Every HTTP client that we and our libraries use reads these variables, in the processes of Ray too.
    """
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXY_VARIABLES):
        return
    # Some clients read one spelling, some the other: both say what either said, and loopback.
    listed = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    names = [name.strip() for text in listed for name in text.split(",") if name.strip()]
    value = ",".join(dict.fromkeys([*names, *LOOPBACK]))
    for variable in ("no_proxy", "NO_PROXY"):
        os.environ[variable] = "*" if "*" in names else value


def check_http(url: str, what: str, *, fix: str, patience_s: float = PATIENCE_S) -> None:
    """See that an HTTP server answers at a URL: anything that begins as a reply does will do.

    Raises:
        InputError: nobody answers there within ``patience_s`` seconds.
    """
    import urllib.error
    import urllib.request

    exempt_loopback()

    def ask() -> None:
        request = urllib.request.Request(url, headers={"user-agent": "leeroo"})
        # A refusal is an answer; what it means is for whoever asks in earnest.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=patience_s).close()

    _within(ask, patience_s, what, where=without_password(url), fix=fix)


def check_port(
    host: str, port: int, what: str, *, where: str, fix: str, patience_s: float = PATIENCE_S
) -> None:
    """See that something listens at a TCP port.

    Raises:
        InputError: nothing does, or it does not answer within ``patience_s`` seconds.
    """
    _within(
        lambda: socket.create_connection((host, port), timeout=patience_s).close(),
        patience_s,
        what,
        where=where,
        fix=fix,
    )


def check_url(url: str, what: str, *, fix: str) -> None:
    """See that something listens behind a URL's host, or behind the proxy that stands before it.

    Raises:
        InputError: nobody answers there.
    """
    from urllib.request import getproxies, proxy_bypass

    exempt_loopback()
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(parts.scheme)
    target = urlsplit(proxy if proxy is None or "://" in proxy else f"http://{proxy}") if proxy else parts
    try:
        port = target.port or _PORTS.get(target.scheme, 80)
    except ValueError:
        raise InputError("the port is none", where=without_password(url), fix=fix) from None
    check_port(target.hostname or "", port, what, where=without_password(url), fix=fix)


def without_password(url: str) -> str:
    """A URL as it may be shown: without user and password.

    >>> without_password("https://me:secret@host:5000/a")
    'https://host:5000/a'
    """
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}" if separator else url


def _within(ask: Callable[[], None], patience_s: float, what: str, *, where: str, fix: str) -> None:
    """Run a question in a thread of its own, because a look-up of a name has no deadline."""
    found: list[BaseException | None] = []

    def run() -> None:
        try:
            ask()
            found.append(None)
        except (OSError, ValueError) as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True, name="is anybody there")
    thread.start()
    thread.join(patience_s + 0.5)
    error = found[0] if found else TimeoutError(f"nothing came within {patience_s:g} s")
    if error is not None:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InputError(f"{what} does not answer ({reason})", where=where, fix=fix) from None
