"""The ingress deployment: the web application, wired to the router, the ledger and the experts."""

from __future__ import annotations

from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from experts import ExpertSpec
from serve.config import ServeConfig
from serve.config.home_mark import check_home
from serve.expert_clients import ExpertClients
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
        check_home(config.home, config.home_mark)
        handles = {spec.name: one for spec, one in zip(specs, experts, strict=True) if one is not None}
        clients = ExpertClients(config, handles)
        self._gateway = Gateway(
            config,
            RouterHandle(router, config),
            BookkeeperHandle(bookkeeper, is_alone=config.ingress_replicas == 1),
            {spec.name: clients.make(spec) for spec in specs},
            text_keeper(config),
            None if traces is None else _trace_client(config, traces),
            read_again=clients.read_again,
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
