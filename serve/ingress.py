"""The ingress deployment: the web application, wired to the router's and the experts' handles."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve as ray_serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from experts import ExpertSpec
from serve.config import ServeConfig
from serve.experts.handle import HandleClient
from serve.http.api import create_api
from serve.ledger.messages import Caller, Entry, Reservation, Reserved, Settlement
from serve.request.gateway import Gateway
from serve.router.deployment import Query, Ruling
from serve.transport.coalescing import Coalescer
from serve.transport.local_call import LocalCaller
from serve.wire.api_errors import ApiError
from warehouse import InputError

PATIENCE_S = 20.0  # how long a request waits for a router or bookkeeper that is starting again


async def call(method: Any, *args: Any) -> Any:
    """Call a deployment's method that may be repeated without harm; wait while its replica starts again.

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


def _caller_of(handle: DeploymentHandle, method: str) -> LocalCaller:
    return LocalCaller(partial(call, handle.address), partial(call, getattr(handle, method)))


class RouterHandle:
    """Talks to the router's deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        # Small groups, so that the first of many requests need not wait for the decisions on all.
        self._decide: Coalescer[Query, Ruling | InputError] = Coalescer(_caller_of(handle, "decide"), most=8)

    async def decide(self, query: Query) -> Ruling:
        """Decide on one query; InputError when nobody may answer."""
        ruling = await self._decide(query)
        if isinstance(ruling, InputError):
            raise ruling
        return ruling

    async def version(self) -> str:
        """Return the version of the champion in use."""
        return str(await call(self._handle.version))


class BookkeeperHandle:
    """Talks to the bookkeeper's deployment; see :class:`serve.ledger.bookkeeper.Bookkeeper`."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._write: Coalescer[Entry, Reserved | None] = Coalescer(_caller_of(handle, "write"), most=256)

    async def identify(self, secret_hash: str | None) -> Caller | None:
        """Return who asks."""
        caller: Caller | None = await call(self._handle.identify, secret_hash)
        return caller

    async def reserve(self, reservation: Reservation) -> Reserved:
        """Set money aside."""
        reserved = await self._write(reservation)
        assert reserved is not None
        return reserved

    async def settle(self, settlement: Settlement) -> None:
        """Charge a call and keep what is to be kept of it."""
        await self._write(settlement)

    async def add_feedback(self, caller: Caller, request_id: str, score: float) -> bool:
        """Attach a score to a decision."""
        return bool(await call(self._handle.add_feedback, caller, request_id, score))

    async def figures(self) -> bytes:
        """Return what was counted."""
        return bytes(await call(self._handle.figures))


@ray_serve.ingress()
class Ingress:
    """Takes HTTP requests. The application is built in the replica, around its gateway."""

    def __init__(
        self,
        config: ServeConfig,
        specs: tuple[ExpertSpec, ...],
        router: DeploymentHandle,
        bookkeeper: DeploymentHandle,
        experts: list[DeploymentHandle],
    ) -> None:
        clients = [HandleClient(spec, handle) for spec, handle in zip(specs, experts, strict=True)]
        by_name = {client.spec.name: client for client in clients}
        self._gateway = Gateway(config, RouterHandle(router), BookkeeperHandle(bookkeeper), by_name)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the web application; Ray Serve calls this once, in the replica."""
        return create_api(self._gateway)
