"""Start and stop the endpoint from a program: the library behind ``leeroo serve``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from serve.app import build
from serve.config import ServeConfig
from serve.front.choice import front_of_cluster
from serve.front.haproxy import SWITCH
from warehouse import CannotRunError, InputError

__all__ = ["APP_NAME", "ServeConfig", "start_serving", "stop_serving"]

APP_NAME = "leeroo"


def start_serving(
    config: ServeConfig,
    *,
    on_status: Callable[[dict[str, str]], None] | None = None,
    timeout_s: float = 900.0,
) -> str:
    """Deploy the endpoint on the Ray cluster that this process is connected to; return its base URL.

    Returns when every part is ready. Other applications on the cluster are left alone.

    Args:
        on_status: told now and then of each deployment's status, for progress.

    Raises:
        LeerooError: a setting is wrong, there is no champion, an expert cannot be served or did not start,
            or Serve already listens elsewhere on this cluster.
    """
    from ray import serve as ray_serve

    app = build(config)
    _quieten()
    ray_serve.start(
        http_options={"host": config.host, "port": config.port}, logging_config={"log_level": "WARNING"}
    )
    _check_address(config)
    _check_front(config)
    ray_serve.run(app, name=APP_NAME, route_prefix="/", blocking=False, _local_testing_mode=False)
    deadline = time.monotonic() + timeout_s
    while True:
        status = ray_serve.status().applications[APP_NAME]
        if on_status is not None:
            on_status({name: str(part.status.value) for name, part in status.deployments.items()})
        if status.status == "RUNNING":
            return f"http://{config.host}:{config.port}"
        if status.status in {"DEPLOY_FAILED", "UNHEALTHY"} or time.monotonic() > deadline:
            told = [part.message for part in status.deployments.values() if part.message] or [status.message]
            stop_serving()
            raise CannotRunError(
                f"the endpoint did not start: {told[0].strip()}", fix="see Ray's logs, and `leeroo doctor`"
            )
        time.sleep(0.5)


def stop_serving() -> None:
    """Take the endpoint away again, and Serve with it if nothing else runs there."""
    from ray import serve as ray_serve

    ray_serve.delete(APP_NAME)
    if not ray_serve.status().applications:
        ray_serve.shutdown()


def _quieten() -> None:
    """Keep from the terminal how Serve starts, and what fails as its controller is shut down on purpose."""
    from ray._private import worker

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    told = worker.print_to_stdstream
    if getattr(told, "is_quiet", False):
        return

    def tell(data: dict[str, Any], *args: Any, **options: Any) -> None:
        if not any("Task ServeController" in line for line in data["lines"]):
            told(data, *args, **options)

    tell.is_quiet = True  # type: ignore[attr-defined]
    worker.print_to_stdstream = tell


def _check_front(config: ServeConfig) -> None:
    """The front is the cluster's: which one it has was settled when that was started."""
    there = front_of_cluster()
    if config.front not in {"auto", there}:
        switch = "1" if config.front == "haproxy" else "0"
        raise InputError(
            f"the Serve of this cluster has {there} as its front",
            where=f"front {config.front}",
            fix=f"use `auto`, or start all of the cluster's nodes with {SWITCH}={switch}",
        )


def _check_address(config: ServeConfig) -> None:
    """Serve listens once per cluster: a second address is silently ignored by Ray, and must not be by us."""
    from ray.serve.context import _get_global_client

    listening = _get_global_client().http_config
    if (listening.host, listening.port) != (config.host, config.port):
        raise InputError(
            f"Ray Serve already listens on {listening.host}:{listening.port} in this cluster",
            where=f"--host {config.host} --port {config.port}",
            fix="use that address, or stop what runs there",
        )
