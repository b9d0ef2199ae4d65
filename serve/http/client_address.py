"""The address that a request came from, as far as nobody else than the operator can have made it up.

HAProxy, as we start it, tells it in a header of ours, with a secret that its cluster was started with; the
header comes from nobody else. Without HAProxy it is the other end of the connection. Of what proxies before
the endpoint say (``X-Forwarded-For``) nothing is believed, unless the operator names their addresses.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.types import Scope

from serve.wire.addresses import Address, Network, read_address, read_network

FRONT_SECRET = "LEEROO_FRONT_SECRET"  # a variable of the whole cluster
PEER_HEADER = "x-leeroo-peer"  # "<secret> <address>"
_LOOPBACK = "127.0.0.1"


def client_address(scope: Scope, trusted_proxies: Sequence[str]) -> Address | None:
    """Return the address of a request's client; None where it cannot be known.

    Args:
        scope: of the request.
        trusted_proxies: networks of proxies whose ``X-Forwarded-For`` is believed.
    """
    headers, trusted = Headers(scope=scope), _networks(tuple(trusted_proxies))
    told = [
        one.strip() for line in headers.getlist("x-forwarded-for") for one in line.split(",") if one.strip()
    ]
    peer = _told_by_haproxy(headers)
    if peer is None:
        peer = _read((scope.get("client") or ("",))[0])
        # Uvicorn replaces an address of this machine by what the header says, whoever wrote that.
        if peer is not None and peer in map(_read, told) and not _is_in(_read(_LOOPBACK), trusted):
            return None
    while told and _is_in(peer, trusted):
        peer = _read(told.pop())
    return peer


def _told_by_haproxy(headers: Headers) -> Address | None:
    known, lines = os.environ.get(FRONT_SECRET), headers.getlist(PEER_HEADER)
    if not known or len(lines) != 1:
        return None
    secret, _, address = lines[0].partition(" ")
    return _read(address) if hmac.compare_digest(secret.encode(), known.encode()) else None


def _read(text: str) -> Address | None:
    try:
        return read_address(text.strip().removeprefix("[").partition("]")[0])
    except ValueError:
        host, _, port = text.strip().rpartition(":")  # some proxies tell the port
        if not port.isdigit() or ":" in host:
            return None
        try:
            return read_address(host)
        except ValueError:
            return None


def _is_in(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


@lru_cache(maxsize=64)
def _networks(told: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(read_network(one) for one in told)
