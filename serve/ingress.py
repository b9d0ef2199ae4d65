"""The ingress deployment: the web application, wired to the router's and the experts' handles."""

from __future__ import annotations

from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from experts import ExpertSpec
from serve.api import create_api
from serve.config import ServeConfig
from serve.expert_client import HandleClient
from serve.gateway import Gateway
from serve.router import Query, Ruling
from warehouse import InputError


class RouterHandle:
    """Talks to the router's deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def decide(self, query: Query) -> Ruling:
        """Decide on one query; InputError when nobody may answer."""
        ruling: Ruling | InputError = await self._handle.decide.remote(query)
        if isinstance(ruling, InputError):
            raise ruling
        return ruling

    async def version(self) -> str:
        """Return the version of the orchestrator in use."""
        return await self._handle.version.remote()  # type: ignore[no-any-return]


@ray_serve.ingress()
class Ingress:
    """Takes HTTP requests. The application is built in the replica, around its gateway."""

    def __init__(
        self,
        config: ServeConfig,
        specs: tuple[ExpertSpec, ...],
        router: DeploymentHandle,
        experts: list[DeploymentHandle],
    ) -> None:
        clients = [HandleClient(spec, handle) for spec, handle in zip(specs, experts, strict=True)]
        self._gateway = Gateway(
            config, RouterHandle(router), {client.spec.name: client for client in clients}
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the web application; Ray Serve calls this once, in the replica."""
        return create_api(self._gateway)
