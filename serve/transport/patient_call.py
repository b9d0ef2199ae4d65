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
from serve.wire.api_errors import ApiError

PATIENCE_S = 20.0  # how long a request waits for a router or bookkeeper that is starting again


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


def local_caller(handle: DeploymentHandle, method: str) -> LocalCaller:
    """Return a caller of a method that uses the replica's socket, or its handle, patiently."""
    return LocalCaller(partial(call, handle.address), partial(call, getattr(handle, method)))
