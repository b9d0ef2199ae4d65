"""Behind HAProxy, who answers requests listens on the loopback where one machine is the whole cluster."""

from __future__ import annotations

import sys
from typing import Any

_LISTENERS = ("ray.serve._private.replica", "ray.serve._private.proxy")


def listen_on_this_machine() -> None:
    """Have this process's HTTP server listen on the loopback where the node's own address is that.

    Ray Serve binds it to the endpoint's address, whatever it is, though only HAProxy has to reach it. To be
    called before Ray starts it.
    """
    import ray
    from ray.serve._private.constants import RAY_SERVE_ENABLE_HA_PROXY

    if not RAY_SERVE_ENABLE_HA_PROXY or not ray.is_initialized():
        return
    address = ray.util.get_node_ip_address()
    if not address.startswith("127."):
        return
    for name in _LISTENERS:
        module = sys.modules.get(name)
        if module is not None and not hasattr(module.start_asgi_http_server, "is_local"):
            module.start_asgi_http_server = _locally(module.start_asgi_http_server, address)  # type: ignore[attr-defined]


def _locally(start: Any, address: str) -> Any:
    async def start_locally(app: Any, options: Any, **more: Any) -> Any:
        return await start(app, options.model_copy(update={"host": address}), **more)

    start_locally.is_local = True  # type: ignore[attr-defined]
    return start_locally
