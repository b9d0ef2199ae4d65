"""Calls of a deployment that wait while its replica restarts."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from serve.transport.local_call import LocalCaller
from serve.transport.local_socket import Address
from serve.wire.api_errors import ApiError

PATIENCE_S = 20.0  # how long a request waits for a router or bookkeeper that is starting again
_LOCATE_S = 2.0


async def call(method: Any, *args: Any) -> Any:
    """Call an idempotent method of a deployment; wait while its replica restarts.

    Raises:
        ApiError: 503, when it is not back in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            async with asyncio.timeout(max(0.1, deadline - time.monotonic())):
                return await method.remote(*args)
        except RayTaskError:
            raise  # the method ran, and failed
        except (RayError, RayServeException, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise ApiError(
                    503, "a part of the endpoint is starting again", code="restarting", retry_after_s=5
                ) from error
            await asyncio.sleep(0.2)


async def locate(method: Any) -> Address | None:
    """Ask a deployment once where its socket is: who waits for a replica waits by its handle, and once.

    None if the replica is not to be asked by a socket.

    Raises:
        ConnectionError: nobody told it at once.
    """
    try:
        async with asyncio.timeout(_LOCATE_S):
            address: Address | None = await method.remote()
            return address
    except (RayError, RayServeException, TimeoutError) as error:
        raise ConnectionError(f"no replica tells its address ({type(error).__name__})") from error


def local_caller(handle: DeploymentHandle, method: str, *, address: str = "address") -> LocalCaller:
    """Return a caller of a method that uses the replica's socket, or its handle, patiently.

    Args:
        handle: of the deployment.
        method: its method.
        address: the method that tells where the socket is.
    """
    return LocalCaller(partial(locate, getattr(handle, address)), partial(call, getattr(handle, method)))
