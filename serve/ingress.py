"""The ingress deployment: the web application, wired to the router, the ledger and the experts."""

from __future__ import annotations

from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from experts import ExpertSpec
from experts.upstream import ConnectionPool
from serve.config import ServeConfig
from serve.experts.client import ExpertClient
from serve.experts.deployments import called
from serve.experts.handle import HandleClient
from serve.http.api import create_api
from serve.http.short_way import DESTINATION
from serve.ledger.handle import BookkeeperHandle
from serve.request.clients import TraceClient
from serve.request.gateway import Gateway
from serve.router.handle import RouterHandle
from serve.texts import recording_kept, text_keeper
from serve.transport.own_port import keep_port_on_this_machine
from warehouse.traffic.retention import note_recording


@ray_serve.ingress()
class Ingress:
    """Takes HTTP requests. The application is built in the replica, around its gateway."""

    def __init__(
        self,
        config: ServeConfig,
        specs: tuple[ExpertSpec, ...],
        router: DeploymentHandle,
        bookkeeper: DeploymentHandle,
        experts: list[DeploymentHandle | None],
        traces: DeploymentHandle | None = None,
    ) -> None:
        keep_port_on_this_machine()
        pool = ConnectionPool()
        by_name = {
            spec.name: _client(spec, handle, pool, config.ingress_replicas)
            for spec, handle in zip(specs, experts, strict=True)
        }
        self._gateway = Gateway(
            config,
            RouterHandle(router, config),
            BookkeeperHandle(bookkeeper, is_alone=config.ingress_replicas == 1),
            by_name,
            text_keeper(config),
            None if traces is None else _trace_client(config, traces),
        )
        note_recording(config.home, recording_kept(config))

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the web application; Ray Serve calls this once, in the replica."""
        app = create_api(self._gateway)
        DESTINATION.set(app)
        return app


def _trace_client(config: ServeConfig, handle: DeploymentHandle) -> TraceClient:
    from serve.tracing.handle import TracesHandle  # OpenTelemetry is loaded where requests are traced alone

    # A trace's store is plain: what is sealed elsewhere does not go there.
    holds_texts = config.record == "texts" and not recording_kept(config).is_sealed
    return TracesHandle(handle, config.trace_share, holds_texts=holds_texts)


def _client(
    spec: ExpertSpec, handle: DeploymentHandle | None, pool: ConnectionPool, ingresses: int
) -> ExpertClient:
    if handle is not None:
        return HandleClient(spec, handle)
    row = called(spec)
    assert row is not None, spec.backend
    return row.client(spec, pool, row.share(spec, ingresses))
