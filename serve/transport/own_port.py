"""Restrict the port that Ray opens in every replica to this machine, if it is the whole cluster."""

from __future__ import annotations

from typing import Any

import ray

_EVERYWHERE = "[::]:"


def keep_port_on_this_machine() -> None:
    """Have this replica's port listen on the loopback where the node's own address is that.

    Ray Serve binds it to all addresses and has no setting for it. Call this while a replica is constructed,
    before Ray opens the port.
    """
    if not ray.is_initialized():
        return  # no replica, but a test or a notebook
    from ray.serve._private import replica

    address = ray.util.get_node_ip_address()
    if not address.startswith("127.") or hasattr(replica.add_port_to_grpc_server, "is_local"):
        return
    add_port = replica.add_port_to_grpc_server

    def add_local_port(server: Any, bound: str) -> Any:
        return add_port(server, bound.replace(_EVERYWHERE, f"{address}:"))

    add_local_port.is_local = True  # type: ignore[attr-defined]
    replica.add_port_to_grpc_server = add_local_port
