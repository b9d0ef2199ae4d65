"""Behind HAProxy, who answers requests listens on the loopback where one machine is the whole cluster."""

from __future__ import annotations

import sys
from typing import Any

_START = "start_asgi_http_server"


def listen_on_this_machine() -> None:
    """Have this process's HTTP server listen on the loopback where the node's own address is that.

    Ray Serve binds it to the endpoint's address, whatever it is, though only HAProxy has to reach it. To be
    called by what starts it, before it does.
    """
    import ray
    from ray.serve._private.constants import RAY_SERVE_ENABLE_HA_PROXY

    if not RAY_SERVE_ENABLE_HA_PROXY or not ray.is_initialized():
        return
    address = ray.util.get_node_ip_address()
    if address.startswith("127."):
        start_locally(address)


def start_locally(address: str) -> None:
    """Change the function that starts a server for whoever is calling this.

    Looked for there and not in Ray's modules: an actor's class comes with names of its own.
    """
    frame = sys._getframe(1)
    while frame is not None:
        start = frame.f_globals.get(_START)
        if start is not None and not hasattr(start, "is_local"):
            frame.f_globals[_START] = _locally(start, address)
        frame = frame.f_back  # type: ignore[assignment]


def _locally(start: Any, address: str) -> Any:
    async def start_there(app: Any, options: Any, **more: Any) -> Any:
        return await start(app, options.model_copy(update={"host": address}), **more)

    start_there.is_local = True  # type: ignore[attr-defined]
    return start_there
