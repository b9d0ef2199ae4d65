"""Open the destinations of traces, in the process that exports to them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import SpanExporter

from experts.upstream.credentials import handed_over
from serve.tracing.destination import Destination
from serve.tracing.places import MLFLOW, OTLP, VARIABLES, otlp_endpoint, otlp_variable
from warehouse.mlflow_store import open_store, point_mlflow

_PATH = "/v1/traces"
_TIMEOUT_S = 5.0  # unless the environment says otherwise


def take_variables() -> None:
    """Set OpenTelemetry's variables as the process that started the endpoint handed them over."""
    for name in VARIABLES:
        if (value := handed_over(name)) is not None:
            os.environ.setdefault(name, value)
    # It tells of every batch that fails, with the address and what came; a destination tells of it once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def open_destination(name: str, tracking_uri: str | None) -> Destination:
    """Return a destination by its name; nothing is connected yet."""
    if name == MLFLOW:
        assert tracking_uri is not None
        return Destination(MLFLOW, lambda: _open_mlflow(tracking_uri))
    address = urlsplit(otlp_endpoint() or "" if name == OTLP else name)
    shown = f"{address.hostname}:{address.port}" if address.port else str(address.hostname)
    return Destination(shown, _opener(None if name == OTLP else name))


def _opener(address: str | None) -> Callable[[], SpanExporter]:
    def open_exporter() -> SpanExporter:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        endpoint = address
        if endpoint is not None and not urlsplit(endpoint).path.strip("/"):
            endpoint = endpoint.rstrip("/") + _PATH
        return OTLPSpanExporter(endpoint, timeout=None if otlp_variable("TIMEOUT") else _TIMEOUT_S)

    return open_exporter


def _open_mlflow(tracking_uri: str) -> SpanExporter:
    open_store(tracking_uri)
    point_mlflow(tracking_uri)  # quietly: before MLflow is imported
    from serve.tracing.mlflow_spans import MlflowSpans

    return MlflowSpans(tracking_uri)
