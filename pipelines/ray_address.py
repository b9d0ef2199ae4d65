"""Check whether there is a Ray cluster at an address, before Ray itself tries for minutes."""

from __future__ import annotations

import os
import socket

from warehouse.errors import InputError
from warehouse.reachable import PATIENCE_S

_FIX = "give HOST:PORT of the cluster's head (6379 as a rule) or ray://HOST:10001; unset, one is started here"
#: How a speaker of HTTP/2, as Ray's server is, is greeted; it answers with a frame of its settings.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_SETTINGS = 4  # the type of that frame, its fourth byte


def check_ray_address(address: str, *, where: str) -> None:
    """Check that an address is valid and that something which may be Ray answers there.

    Raises:
        InputError: the address is not valid, nothing answers there within seconds, or something else does.
    """
    if address in ("auto", "local") or ("://" in address and not address.startswith("ray://")):
        return  # Ray looks by itself, or a plug-in of Ray's does
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise InputError(f"{address!r} is not the address of a Ray cluster", where=where, fix=_FIX)
    try:
        answer = _greet(host.strip("[]"), int(port))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"no Ray cluster answers at {address} ({reason})", where=where, fix=_FIX) from None
    if os.environ.get("RAY_USE_TLS", "0") == "0" and answer[3:4] != bytes([_SETTINGS]):
        raise InputError(f"what answers at {address} is not a Ray cluster", where=where, fix=_FIX)


def _greet(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), timeout=PATIENCE_S) as connection:
        connection.sendall(_GREETING)
        try:
            return connection.recv(9)
        except (TimeoutError, ConnectionResetError):
            return b""
