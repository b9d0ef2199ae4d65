"""MLflow's trace store as a destination of spans: what its server does with OTLP, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow.entities.span import Span
from mlflow.tracing.client import TracingClient
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from warehouse.mlflow_runs import EXPERIMENT, client_of, find_experiment

#: Of a trace: what it can be found by.
TAGS = ("leeroo.request_id", "leeroo.key_id")
_COSTS = {
    "input_cost": "leeroo.input_cost_usd",
    "output_cost": "leeroo.output_cost_usd",
    "total_cost": "leeroo.cost_usd",
}


class MlflowSpans(SpanExporter):
    """Writes spans to a tracking store, SQLite or a server, in the home's experiment."""

    def __init__(self, tracking_uri: str) -> None:
        """Take a store that :func:`warehouse.mlflow_store.open_store` has seen."""
        self._experiment = find_experiment(client_of(tracking_uri), tracking_uri, EXPERIMENT)
        self._client = TracingClient(tracking_uri)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write spans, all or none."""
        found = []
        for of_resource in encode_spans(spans).resource_spans:
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    span.attributes.extend(_for_mlflow(span))
                    if span.kind == OtlpSpan.SPAN_KIND_SERVER:
                        # Its caller's spans lie elsewhere as a rule, and a trace without a first span
                        # counts as unfinished.
                        span.parent_span_id = b""
                    found.append(Span.from_otel_proto(span, resource=of_resource.resource))
        self._client.log_spans(self._experiment, found)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """There is nothing to close."""


def _for_mlflow(span: OtlpSpan) -> list[KeyValue]:
    """Return what MLflow calls otherwise than the conventions do.

    Without a cost of ours it makes one up from a public list of prices, where that knows the model's name.
    """
    told = {one.key: one.value for one in span.attributes}
    if span.kind == OtlpSpan.SPAN_KIND_CLIENT:
        costs = [
            KeyValue(key=name, value=told.get(ours, AnyValue(double_value=0.0)))
            for name, ours in _COSTS.items()
        ]
        cost = AnyValue(kvlist_value=KeyValueList(values=costs))
        return [
            KeyValue(key="mlflow.spanType", value=_text("CHAT_MODEL")),
            KeyValue(key="mlflow.llm.cost", value=cost),
            KeyValue(key="mlflow.llm.model", value=told["leeroo.expert"]),
        ]
    if span.kind == OtlpSpan.SPAN_KIND_SERVER:
        tags = [KeyValue(key=f"mlflow.traceTag.{tag}", value=told[tag]) for tag in TAGS if tag in told]
        return [KeyValue(key="mlflow.spanType", value=_text("WORKFLOW")), *tags]
    return [KeyValue(key="mlflow.spanType", value=_text("TASK"))]


def _text(value: Any) -> AnyValue:
    return AnyValue(string_value=value)
