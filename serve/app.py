"""The Ray Serve application: ingress, router, bookkeeper and the experts that run here."""

from __future__ import annotations

from typing import Any

import ray
from ray import serve as ray_serve

from experts.upstream import hand_over_keys
from serve.checks import check_settings
from serve.config import ServeConfig, served_experts
from serve.config.home_mark import mark_home
from serve.experts.deployments import bind_expert, called
from serve.ingress import Ingress
from serve.ledger.alerts.webhook import SECRET_VARIABLE, URL_VARIABLE
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.store.place import (
    LEDGER_VARIABLE,
    PASSWORD_VARIABLE,
    PostgresPlace,
    ledger_place,
)
from serve.placing import PART_CPUS, check_nodes
from serve.router.champion import load_router, tracking_uri
from serve.router.deployment import Router
from serve.tracing.places import VARIABLES, trace_destinations
from warehouse.home import Home, absolute_url, warehouse_elsewhere
from warehouse.traffic.sealing import KEY_VARIABLE, key_file_named

#: In deployments that compute little, Ray need not pass every call from thread to thread.
ONE_LOOP = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0", "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"}
#: A decision is smaller than what it takes to share one out.
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
LIGHT: dict[str, Any] = {
    "ray_actor_options": {"num_cpus": PART_CPUS, "runtime_env": {"env_vars": ONE_LOOP | ONE_CORE}},
    "max_ongoing_requests": 10_000,
    "logging_config": {"enable_access_log": False},
}
#: Ray writes a line of every request where that level lets it, filter or not.
QUIET: dict[str, Any] = {"logging_config": {"log_level": "WARNING", "enable_access_log": False}}


def build(args: dict[str, Any] | ServeConfig) -> ray_serve.Application:
    """Return the application that ``serve run serve.app:build home=...`` and ``leeroo serve`` deploy.

    Raises:
        LeerooError: a setting is wrong, there is no champion, or an expert cannot be served. Nothing starts.
    """
    # From a command line or a configuration file, an endpoint is closed unless it says otherwise.
    config = args if isinstance(args, ServeConfig) else ServeConfig.parse({"access": "keys", **args})
    check_settings(config)
    # Settled here, once: a replica's environment is that of the cluster, not of whoever deploys.
    home = config.home.expanduser().absolute()
    elsewhere = config.warehouse_url or warehouse_elsewhere()
    config = config.model_copy(
        update={
            "home": home,
            "warehouse_url": absolute_url(elsewhere) if elsewhere else str(home / "warehouse"),
            "texts_key_file": key_file_named(config.texts_key_file),
        }
    )
    if isinstance(place := ledger_place(home, config.ledger), PostgresPlace):
        config = config.model_copy(update={"ledger": place.shown})
    if config.router_dir is None:
        config = config.model_copy(update={"tracking_uri": tracking_uri(config)})
    _, orchestrator = load_router(config)
    specs = served_experts(config, orchestrator.experts)
    config = config.model_copy(update={"home_mark": mark_home(home)})
    if ray.is_initialized():
        check_nodes(config, specs)
    from_ingress = [
        spec for spec in specs if (row := called(spec)) and row.share(spec, config.ingress_replicas)
    ]
    router = ray_serve.deployment(Router, name="router", **_part(config)).bind(config)
    from_there = (LEDGER_VARIABLE, PASSWORD_VARIABLE, URL_VARIABLE, SECRET_VARIABLE)
    bookkeeper = ray_serve.deployment(
        Bookkeeper,
        name="bookkeeper",
        **_part(config, hand_over_keys((), also=from_there)),
    ).bind(config)
    traces = _bind_traces(config) if config.trace else None
    ingress = ray_serve.deployment(
        Ingress,
        name="ingress",
        num_replicas=config.ingress_replicas,
        **_part(config, hand_over_keys(from_ingress, also=(KEY_VARIABLE,))) | QUIET,
    )
    return ingress.bind(config, specs, router, bookkeeper, [bind_expert(spec) for spec in specs], traces)


def _bind_traces(config: ServeConfig) -> Any:
    """Return the bound deployment that brings traces to where they go; their places are settled here."""
    from serve.tracing.deployment import Traces  # OpenTelemetry is loaded where requests are traced alone

    uri = Home.open(config.home, mlflow_uri=config.tracking_uri).mlflow_uri
    settled = config.model_copy(update={"tracking_uri": uri, "trace_to": trace_destinations(config)})
    variables = hand_over_keys((), also=VARIABLES)
    traces = ray_serve.deployment(Traces, name="traces", **_part(config, variables))
    return traces.bind(settled)


def _part(config: ServeConfig, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Return what Ray Serve should know of a part of the endpoint: where it may run, and with what."""
    env = ONE_LOOP | ONE_CORE | (variables or {})
    actor: dict[str, Any] = {**LIGHT["ray_actor_options"], "runtime_env": {"env_vars": env}}
    if config.node_labels:
        actor["label_selector"] = dict(config.node_labels)
    return {**LIGHT, "ray_actor_options": actor}
